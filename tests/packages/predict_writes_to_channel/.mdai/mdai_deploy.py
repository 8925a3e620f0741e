"""Writes to every socket that it finds open."""

import os
import stat

from life import answer, start_children


class MDAIModel:
    def predict(self, data):
        if "misbehave" not in data["args"]:
            return answer()
        start_children()
        for number in range(3, 256):
            try:
                if stat.S_ISSOCK(os.fstat(number).st_mode):
                    os.write(number, b"\xff" * 64)
            except OSError:
                pass
        return answer()
