"""The worker ends with the server, however the server ends."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def follow(parent):
    """Have the kernel kill this process when the process `parent` ends (Linux).

    Elsewhere the worker ends when it next reads its channel. The server must start workers from a thread that lives as
    long as it does: the signal is sent when the *thread* ends that started this process.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we could ask
        sys.exit("the server that started this worker is gone")
