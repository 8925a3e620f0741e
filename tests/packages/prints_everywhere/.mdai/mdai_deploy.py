"""Prints from Python and from C, at import, in __init__ and in predict, to stdout and stderr, without flushing."""

import ctypes
import os
import sys

libc = ctypes.CDLL(None)


def say(when):
    print("python out " + when)
    print("python err " + when, file=sys.stderr)
    libc.puts(("c out " + when).encode())
    os.write(1, ("raw out " + when + "\n").encode())
    os.write(2, ("raw err " + when + "\n").encode())
    os.system("echo child out " + when)
    sys.stdout.write("unfinished " + when)


say("import")


class MDAIModel:
    def __init__(self):
        say("init")

    def predict(self, data):
        say("predict")
        print(" " * 70000 + "wide")
        print("\udcff \U0001fac1")
        return [{"type": "NONE", "study_uid": "1.2"}]
