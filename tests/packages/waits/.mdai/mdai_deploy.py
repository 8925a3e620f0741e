"""Tells through files that it runs, and waits for permission to end: /begun/NAME appears, NAME is written to the fifo."""

import json
import os


class MDAIModel:
    def predict(self, data):
        args = data["args"]
        if "name" in args:
            with open(os.path.join(os.environ["MEETING"], args["name"] + ".begun"), "w") as file:
                file.write(str(os.getpid()))
            with open(os.path.join(os.environ["MEETING"], args["name"])) as fifo:
                fifo.read()
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(os.getpid())}]
