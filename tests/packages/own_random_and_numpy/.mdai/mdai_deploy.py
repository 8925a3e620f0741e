"""Has a random.py beside numpy, which imports the standard library's."""

import json
import random

import numpy


class MDAIModel:
    def predict(self, data):
        seen = {"numpy works": int(numpy.random.rand(2, 2).size) == 4, "own random": not hasattr(random, "Random")}
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(seen)}]
