"""Hands the whole request to a child process, and keeps a deep copy of it."""

import copy
import json
import multiprocessing


def contents(data):
    return [type(data).__name__, data["files"][0]["content"].decode(), data["args"]]


class MDAIModel:
    def predict(self, data):
        with multiprocessing.get_context(data["args"]["method"]).Pool(1) as pool:
            seen = pool.apply(contents, [data])
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps([seen, copy.deepcopy(data) == data])}]
