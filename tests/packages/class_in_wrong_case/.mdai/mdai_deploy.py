"""Spells the class with small letters."""


class MdaiModel:
    def predict(self, data):
        return []
