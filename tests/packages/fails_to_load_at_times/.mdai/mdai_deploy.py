"""Fails to load for as long as the file FLAW exists; its text is the reason."""

import json
import os


class MDAIModel:
    def __init__(self):
        with open(os.environ["JOURNAL"], "a") as journal:
            journal.write("start\n")
        if os.path.exists(os.environ["FLAW"]):
            with open(os.environ["FLAW"]) as flaw:
                raise RuntimeError(flaw.read())

    def predict(self, data):
        if "die" in data["args"]:
            os._exit(1)
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(os.getpid())}]
