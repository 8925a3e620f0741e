"""What can be asked of the misbehaving package, and what its callers may be told then.

An outcome is `right`, the name of a problem's type (`worker-died`), or a sentence that begins with `wrong:`.
"""

from dataclasses import dataclass

RIGHT = "right"
#: What any request may meet, whatever it asks for: its worker is killed or stopped from outside, none is ready, or
#: too many wait. `no-room` and `out-of-resources` would be honest as well, and are not expected on this machine.
FROM_OUTSIDE = frozenset({"worker-died", "deadline-exceeded", "not-ready", "queue-full"})


@dataclass(frozen=True)
class Fault:
    """A misbehaviour inside `predict`: how often it is asked for, and which outcomes would be honest."""

    name: str
    weight: float
    honest: frozenset[str]
    says: str
    ends_worker: bool = False


def _fault(name: str, weight: float, honest: str, says: str, *, ends_worker: bool = False) -> Fault:
    return Fault(name, weight, frozenset(honest.split()), says, ends_worker)


#: Weights are parts in a thousand of all requests; the rest ask for nothing special.
FAULTS = (
    _fault("raises", 15, "model-raised", "`predict` raises"),
    _fault("sys_exit", 9, "model-raised", "`predict` calls `sys.exit`"),
    _fault("answers_nonsense", 7.5, "invalid-output", "outputs that break the format"),
    _fault("segfaults", 9, "worker-died", "reads address 0: a real SIGSEGV", ends_worker=True),
    _fault("kills_itself", 6, "worker-died", "SIGKILL from within, as from the kernel's OOM killer", ends_worker=True),
    _fault("ends_process", 9, "worker-died", "`os._exit` in `predict`", ends_worker=True),
    # It writes a file first, which an earlier request may have left no descriptor for.
    _fault(
        "fails_next_start",
        3,
        "worker-died model-raised",
        "ends, and calls `os._exit` in the next `__init__`",
        ends_worker=True,
    ),
    _fault("hangs", 2.1, "deadline-exceeded", "`while True` with a bare `except: pass`", ends_worker=True),
    _fault("holds_gil", 2.1, "deadline-exceeded", "a loop in C that holds the interpreter", ends_worker=True),
    _fault("stops_itself", 2.1, "deadline-exceeded", "SIGSTOP from within", ends_worker=True),
    _fault("runs_out_of_memory", 9, "model-raised", "allocates until the process may have no more memory"),
    _fault("floods", 1.5, "right deadline-exceeded", "prints megabytes to stdout, through the descriptor"),
    _fault("leaks_descriptors", 9, "right model-raised", "opens 100 files and forgets them, of 1024"),
    _fault("leaks_all_descriptors", 3, "right", "opens files until there are no more descriptors"),
    _fault("closes_descriptors", 6, "right worker-died", "closes every descriptor up to 1024"),
    _fault("leaves_children", 6, "right model-raised", "children: in its group, in a new session, and a daemon"),
    _fault("leaves_nameless_child", 3, "right model-raised", "a child in a new session with a cleared environment"),
    _fault("leaves_threads", 6, "right", "five threads that never end"),
    _fault("leaves_files", 7.5, "right model-raised", "files in its working directory and in TMPDIR"),
    _fault("writes_to_channel", 3, "right worker-died model-raised", "writes rubbish into every socket that it finds"),
    _fault("shrinks_shared_files", 6, "right worker-died model-raised invalid-output", "truncates its shared files"),
    _fault("takes_long", 30, "right", "takes 0.2 s"),
)
BY_NAME = {fault.name: fault for fault in FAULTS}

#: Misbehaviour of callers: name, weight, the statuses that are an honest answer (none: it does not wait for one).
CALLERS = {
    "garbage body": (6, {400, 422, 503}),
    "a body that is no request": (4, {422, 503}),
    "cut off in the middle of a msgpack": (4, {400, 503}),
    "wrong media type": (3, {415}),
    "a body over --max-body": (2, {413}),
    "leaves in the middle of its upload": (6, set[int]()),
    "leaves without its answer": (6, set[int]()),
    "an unknown path": (2, {404}),
}


def is_honest(fault: str, outcome: str) -> bool:
    """Whether a caller that asked for `fault` ("" for none) was told the truth."""
    allowed = BY_NAME[fault].honest if fault else frozenset({RIGHT})
    return outcome in allowed or outcome in FROM_OUTSIDE
