"""Ends the process behind Python's back, with its last words on stderr."""

import os
import sys


class MDAIModel:
    def __init__(self):
        print("licence expired", file=sys.stderr, flush=True)
        os._exit(7)

    def predict(self, data):
        return []
