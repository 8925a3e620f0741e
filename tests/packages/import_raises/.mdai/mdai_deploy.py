"""Looks for its weights while it is imported, and finds none."""

open("./lib/no/such/weights.h5", "rb")


class MDAIModel:
    def predict(self, data):
        return []
