"""Keeps a pool of processes from __init__ on, as a DataLoader with persistent workers does."""

import json
import multiprocessing
import os


def whoami(_):
    return os.getpid()


class MDAIModel:
    def __init__(self):
        self.pool = multiprocessing.get_context(os.environ["METHOD"]).Pool(1)

    def predict(self, data):
        print("predicting")
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(self.pool.map(whoami, range(3)))}]
