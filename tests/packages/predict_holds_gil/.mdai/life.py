import json
import os
import subprocess


def answer():
    return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(os.getpid())}]


def start_children():
    """One in the worker's process group, one that left it."""
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
