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


def shrink(files):
    for number in files:
        try:
            os.ftruncate(number, 0)
        except PermissionError:  # it is sealed
            pass


class MDAIModel:
    def __init__(self):
        self.kept = []

    def predict(self, data):
        shrink(self.kept)
        self.kept = shared_files()
        if "at once" in data["args"]:
            shrink(self.kept)
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(len(self.kept)), "data": {"mask": [[1] * 999] * 999}}]
