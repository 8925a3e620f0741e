"""Imports a module that nobody has installed."""

import torchvision_of_last_year.models


class MDAIModel:
    def predict(self, data):
        return []
