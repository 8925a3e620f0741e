"""Waits for a download that never ends, whatever is raised."""

import threading


class MDAIModel:
    def __init__(self):
        while True:
            try:
                threading.Event().wait()
            except BaseException:
                pass

    def predict(self, data):
        return []
