"""Workers are started on a thread that outlives them, and come after the server where cores are short."""

import os
import subprocess
import sys
import threading

from model_loader import starting
from tests.hosting import await_true, is_alive


def started(*command: str) -> "subprocess.Popen[bytes]":
    found: list[subprocess.Popen[bytes]] = []
    starting.on_starting_thread(lambda: found.append(starting.start(list(command)))).result()
    return found[0]


def test_what_is_started_lives_on_when_the_thread_that_asked_for_it_has_ended() -> None:
    """The kernel would end it then, had that thread started it."""
    dies_with_its_starter = "import ctypes, sys; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); print(1, flush=True)"
    found: list[subprocess.Popen[bytes]] = []
    reading, writing = os.pipe()

    def start() -> None:
        command = [sys.executable, "-c", dies_with_its_starter + "; sys.stdin.read()"]
        found.append(starting.start(command, stdin=subprocess.PIPE, stdout=writing))

    def ask() -> None:
        starting.on_starting_thread(start).result()
        assert os.read(reading, 1) == b"1", "it follows who started it"

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    (process,) = found
    assert is_alive(process.pid)
    process.communicate()
    assert starting.wait_for(process) == 0
    os.close(reading)
    os.close(writing)


def test_a_worker_comes_after_the_server() -> None:
    process = started("sleep", "1000")
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(os.getpriority(os.PRIO_PROCESS, 0) + 5, 19)
    process.kill()
    starting.wait_for(process)


def test_a_worker_that_has_ended_is_no_stray_before_it_is_waited_for() -> None:
    process = started("sh", "-c", "exit 7")
    await_true(lambda: not is_alive(process.pid), "it has ended")
    starting.reap_strays().result()
    assert starting.wait_for(process) == 7


WITHOUT_A_THREAD = """
import threading
from model_loader import starting

start = threading.Thread.start
def refuse(thread):
    raise RuntimeError("can't start new thread")

def start_one():
    starting.on_starting_thread(lambda: print("refused, and started all the same"))

for ask in (start_one, starting.reap_strays):
    threading.Thread.start = refuse
    try:
        ask()
    except RuntimeError as error:
        print(error)
threading.Thread.start = start
starting.on_starting_thread(lambda: print("asked for")).result()
"""


def test_what_was_refused_for_want_of_a_thread_is_not_started_with_the_next() -> None:
    """In a process of its own: here the thread is there already."""
    said = subprocess.check_output([sys.executable, "-c", WITHOUT_A_THREAD], text=True)
    assert said.splitlines() == ["can't start new thread", "can't start new thread", "asked for"]
