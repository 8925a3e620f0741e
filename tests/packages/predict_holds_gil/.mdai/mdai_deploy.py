"""Stays in native code and holds the interpreter's lock."""

import ctypes

from life import answer, start_children


class MDAIModel:
    def predict(self, data):
        if "misbehave" not in data["args"]:
            return answer()
        start_children()
        ctypes.PyDLL(None).sleep(1000)
