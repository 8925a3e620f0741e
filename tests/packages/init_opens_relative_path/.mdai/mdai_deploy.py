"""Opens its weights as it did on its author's machine, from the folder that it was started in."""


class MDAIModel:
    def __init__(self):
        open("weights.bin", "rb").close()

    def predict(self, data):
        return []
