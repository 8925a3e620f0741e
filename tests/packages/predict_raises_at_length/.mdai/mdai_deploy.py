"""Raises with all its tensors in the text."""


class MDAIModel:
    def predict(self, data):
        raise ValueError("beginning " + "0.123, " * 1000000 + "end")
