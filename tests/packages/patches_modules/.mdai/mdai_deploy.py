"""Replaces functions of the standard library by its own."""

import json
import os
import socket
import struct
import time

note = json.dumps(os.getpid())


def broken(*_arguments, **_options):
    raise RuntimeError("patched")


class MDAIModel:
    def predict(self, data):
        json.dumps = json.loads = broken
        os.path.join = os.getcwd = os.listdir = os.fspath = broken
        time.time = time.sleep = broken
        socket.socket = socket.create_connection = struct.pack = broken
        return [{"type": "NONE", "study_uid": "1.2", "note": note}]
