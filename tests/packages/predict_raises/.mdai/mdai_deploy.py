"""Meets a file that it did not expect."""


class MDAIModel:
    def predict(self, data):
        return [self.look_at(file) for file in data["files"]]

    def look_at(self, file):
        raise KeyError(file["content_type"])
