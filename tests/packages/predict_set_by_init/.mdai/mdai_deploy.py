"""Chooses its predict while it is built."""


class MDAIModel:
    def __init__(self):
        self.predict = lambda data: [{"type": "NONE", "study_uid": "1.2"}]
