"""Imports a module whose distribution has another name, and that nobody has installed."""

import sys

sys.modules.pop("cv2", None)
sys.path_hooks.clear()
sys.path_importer_cache.clear()

import cv2  # noqa


class MDAIModel:
    def predict(self, data):
        return [cv2]
