"""A model that misbehaves as each request's `fault` says, and otherwise proves whose request it saw.

The answer's note is the request's nonce and a digest of its files; with `echo` it carries the files' content back.
What it leaves behind carries the run's trace, in its environment or, where that is cleared, in its command.
"""

import ctypes
import gc
import hashlib
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
import time

FOLDER = os.environ["CHAOS_FOLDER"]
TRACE = os.environ["CHAOS_TRACE"]
STUMBLE = os.path.join(FOLDER, "next-start-fails")
SLEEP = ["sleep", "86400", "0." + str(int(TRACE, 16))]
kept = []

# As in a container: descriptors run out where a model leaks them.
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def own_sockets():
    for number in range(3, 1024):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                yield number
        except OSError:
            pass


def shared_files():
    for number in os.listdir("/proc/self/fd"):
        try:
            if os.readlink("/proc/self/fd/" + number).startswith("/memfd:"):
                yield int(number)
        except OSError:
            pass


def raises(args):
    raise RuntimeError("asked for by " + args["nonce"])


def segfaults(args):
    ctypes.string_at(0)


def kills_itself(args):
    os.kill(os.getpid(), signal.SIGKILL)


def stops_itself(args):
    os.kill(os.getpid(), signal.SIGSTOP)


def ends_process(args):
    os._exit(3)


def sys_exit(args):
    sys.exit(4)


def hangs(args):
    while True:
        try:
            while True:
                time.sleep(0.01)
        except:  # noqa
            pass


def holds_gil(args):
    re.match(r"(a+)+$", "a" * 60 + "b")


def runs_out_of_memory(args):
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (64 << 20), limits[1]))
    hoard = []
    try:
        while True:
            hoard.append(bytearray(1 << 20))
    finally:
        del hoard
        gc.collect()
        resource.setrlimit(resource.RLIMIT_AS, limits)


def floods(args):
    line = b"flooded with text that nobody needs to read, over and over and over again\n" * 800
    left = int(args["amount"])
    while left > 0:
        left -= os.write(1, line[:left])


def leaks_descriptors(args):
    for _ in range(100):
        kept.append(os.open(os.devnull, os.O_RDONLY))


def leaks_all_descriptors(args):
    try:
        while True:
            kept.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass


def closes_descriptors(args):
    os.closerange(0, 1024)


def leaves_children(args):
    kept.append(subprocess.Popen(SLEEP))
    kept.append(subprocess.Popen(SLEEP, start_new_session=True))
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                signal.pause()
        os._exit(0)
    os.wait()


def leaves_nameless_child(args):
    """One that neither its environment nor its session tells of."""
    kept.append(subprocess.Popen(SLEEP, start_new_session=True, env={}))


def leaves_threads(args):
    for _ in range(5):
        threading.Thread(target=time.sleep, args=(86400,), daemon=True).start()


def leaves_files(args):
    for name in (args["nonce"], os.path.join(os.environ["TMPDIR"], args["nonce"])):
        with open(name, "wb") as file:
            file.write(bytes(100000))


def fails_next_start(args):
    with open(STUMBLE, "w"):
        pass
    os._exit(5)


def writes_to_channel(args):
    for number in own_sockets():
        os.write(number, b"\xff" * 64)


def shrinks_shared_files(args):
    for number in shared_files():
        os.ftruncate(number, 0)


def answers_nonsense(args):
    return [{"type": "ANNOTATION", "study_uid": 7}]


def takes_long(args):
    time.sleep(0.2)


FAULTS = {name: value for name, value in list(globals().items()) if callable(value) and hasattr(value, "__code__")}


class MDAIModel:
    def __init__(self):
        if os.path.exists(STUMBLE):
            os.unlink(STUMBLE)
            os._exit(6)

    def predict(self, data):
        args = data["args"]
        contents = [file["content"] for file in data["files"]]
        if args.get("fault"):
            outputs = FAULTS[args["fault"]](args)
            if outputs is not None:
                return outputs
        output = {
            "type": "NONE",
            "study_uid": "1.2",
            "note": args["nonce"] + " " + hashlib.sha256(b"|".join(contents)).hexdigest(),
        }
        if args.get("echo"):
            output["explanations"] = [
                {"name": args["nonce"], "content": content, "content_type": "text/plain"} for content in contents
            ]
        return [output]
