"""Its child processes print, exit and read their standard input."""

import json
import multiprocessing
import sys


def chatter():
    print("a child speaks")
    sys.stdin.read()
    sys.exit(4)


class MDAIModel:
    def predict(self, data):
        child = multiprocessing.get_context(data["args"]["method"]).Process(target=chatter)
        child.start()
        child.join()
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(child.exitcode)}]
