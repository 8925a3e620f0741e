"""Leaves threads behind: one that prints, one that waits in C with a stream of its own, both never joined."""

import ctypes
import json
import os
import threading


class MDAIModel:
    def __init__(self):
        self.libc = ctypes.CDLL(None)
        self.libc.fdopen.restype = ctypes.c_void_p
        self.reading, self.writing = os.pipe()

    def predict(self, data):
        stream = self.libc.fdopen(self.reading, b"r")
        has_begun = threading.Event()

        def read():
            has_begun.set()
            self.libc.fgetc(ctypes.c_void_p(stream))

        threading.Thread(target=threading.Event().wait).start()
        threading.Thread(target=read, daemon=True).start()
        has_begun.wait()
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(threading.active_count())}]
