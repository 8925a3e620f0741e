"""Gives up politely."""

import sys


class MDAIModel:
    def __init__(self):
        sys.exit("no GPU here")

    def predict(self, data):
        return []
