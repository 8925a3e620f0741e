"""Its native code reads address 0."""

import ctypes


class MDAIModel:
    def __init__(self):
        ctypes.string_at(0)

    def predict(self, data):
        return []
