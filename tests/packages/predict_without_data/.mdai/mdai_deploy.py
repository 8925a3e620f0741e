"""A predict that does not take the request."""


class MDAIModel:
    def predict(self):
        return []
