"""Its native code finds its memory corrupted."""

import os

from life import answer, start_children


class MDAIModel:
    def predict(self, data):
        if "misbehave" not in data["args"]:
            return answer()
        start_children()
        os.abort()
