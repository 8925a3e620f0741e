"""Forks a child in predict and keeps it, as a DataLoader with persistent workers does that is made for the first request."""

import json
import multiprocessing
import os
import signal


def open_files(queue):
    targets = []
    for number in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink("/proc/self/fd/" + number))
        except OSError:
            pass  # the one that listed them
    queue.put(targets)
    signal.pause()  # reading from the queue might take away what was just put there


class MDAIModel:
    def __init__(self):
        self.child = None

    def predict(self, data):
        if self.child is None:
            context = multiprocessing.get_context("fork")
            queue = context.SimpleQueue()
            self.child = context.Process(target=open_files, args=(queue,), daemon=True)
            self.child.start()
            self.targets = queue.get()
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps([self.child.is_alive(), self.targets])}]
