"""Changes what belongs to the whole process: directory, umask, environment, signals, recursion limit, default socket timeout."""

import json
import os
import random
import signal
import socket
import sys
import tempfile


class MDAIModel:
    def predict(self, data):
        os.chdir(tempfile.mkdtemp())
        os.rmdir(os.getcwd())
        os.umask(0o777)
        os.environ.clear()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        socket.setdefaulttimeout(0.001)
        sys.setrecursionlimit(150)
        random.seed(0)
        return [{"type": "NONE", "study_uid": "1.2", "note": json.dumps(os.getpid())}]
