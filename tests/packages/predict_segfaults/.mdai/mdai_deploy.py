"""Its native code reads address 0."""

import ctypes

from life import answer, start_children


class MDAIModel:
    def predict(self, data):
        if "misbehave" not in data["args"]:
            return answer()
        start_children()
        ctypes.string_at(0)
