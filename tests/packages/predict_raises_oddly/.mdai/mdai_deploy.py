"""Raises an exception that cannot be printed."""


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class MDAIModel:
    def predict(self, data):
        raise Unspeakable
