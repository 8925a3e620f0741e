"""Has a helper of the same name at the root, beside mdai_deploy.py and in a folder: the root's wins."""

import json

import helper


class MDAIModel:
    def predict(self, data):
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(helper.PLACE)}]
