"""Imports a module that lies deep in the package by its bare name."""

import json

import segmentation


class MDAIModel:
    def predict(self, data):
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(segmentation.NAME)}]
