"""Closes its standard streams, as objects and as descriptors."""

import json
import os
import sys


class MDAIModel:
    def predict(self, data):
        for stream in data["args"].get("objects", "").split():
            getattr(sys, stream).close()
        for number in data["args"].get("descriptors", "").split():
            os.close(int(number))
        if "print" in data["args"]:
            print(data["args"]["print"])
            os.system("echo echo from a child")
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(os.getpid())}]
