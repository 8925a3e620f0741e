"""Closes descriptors twice, as careless cleaning up does, when the numbers may belong to somebody else by now."""

import json
import os


class MDAIModel:
    def __init__(self):
        self.stale = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
        self.close()

    def predict(self, data):
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps([self.stale[0], self.close()])}]

    def close(self):
        """How many of the numbers were open."""
        closed = 0
        for descriptor in self.stale:
            try:
                os.close(descriptor)
                closed += 1
            except OSError:
                pass
        return closed
