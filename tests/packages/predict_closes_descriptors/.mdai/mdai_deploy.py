"""Closes every descriptor, as daemons do when they begin."""

import os

from life import answer, start_children


class MDAIModel:
    def predict(self, data):
        if "misbehave" not in data["args"]:
            return answer()
        start_children()
        os.closerange(3, 4096)
        return answer()
