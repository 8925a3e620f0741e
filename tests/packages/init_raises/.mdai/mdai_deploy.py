"""Finds its weights damaged."""


class MDAIModel:
    def __init__(self):
        self.load()

    def load(self):
        raise OSError("weights.h5 is truncated")

    def predict(self, data):
        return []
