"""Fails as torch does where there is no GPU."""


class MDAIModel:
    def predict(self, data):
        raise RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU.")
