"""Leaves processes behind: in its group, in a session of their own, and as a daemon whose parent is gone."""

import json
import os
import signal
import subprocess


def sleep_for_ever():
    while True:
        signal.pause()


def daemon():
    """Fork twice; returns the id of the process that stays."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        child = os.fork()
        if child == 0:
            sleep_for_ever()
        os.write(writing, str(child).encode())
        os._exit(0)
    os.wait()
    return int(os.read(reading, 20))


def forked():
    child = os.fork()
    if child == 0:
        sleep_for_ever()
    return child


class MDAIModel:
    def predict(self, data):
        pids = [
            subprocess.Popen(["sleep", "1000"]).pid,
            subprocess.Popen(["sleep", "1000"], start_new_session=True).pid,
            forked(),
            daemon(),
        ]
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(pids)}]
