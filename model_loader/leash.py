"""Runs a command that does not outlive the process that asked for it: ``python -I -S leash.py COMMAND …``.

Standard input is the leash. Whoever starts this script keeps the other end of it open; when that end closes,
on purpose or because its process was killed, this script kills its process group and with it the command and
the command's children. The exit code is the command's, or
128 + N when signal N ended it. A grandchild that leaves the process group escapes.

A script of its own, because a parent-death signal would not reach grandchildren (compilers, git), would need
code between fork and exec in a process with threads, and exists on Linux only.
"""

import os
import signal
import sys
import threading


def end_with_starter() -> None:
    """Wait until the starter lets go, then kill the process group."""
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Run the command on its leash and exit as it does."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    command = sys.argv[1:]
    no_input = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    child = os.posix_spawn(command[0], command, os.environ, file_actions=[no_input])
    threading.Thread(target=end_with_starter, daemon=True).start()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
