"""Forgets to return."""


class MDAIModel:
    def predict(self, data):
        [file for file in data["files"]]
