"""Runs a server as it is, on an event loop that notes how late its timers come: how long nothing else was served.

    python benchmarks/ticker.py FILE SCRIPT ARGUMENTS...

FILE gets two doubles, in seconds: the longest stall, and the longest with the time taken off in which the thread was
ready to run and had no core (the kernel's own count), which is the machine's doing. Whoever reads may write zeros.
The server's code knows nothing of this; it asks uvloop for a loop, and gets one with a timer in it.
"""

import asyncio
import mmap
import os
import runpy
import struct
import sys
import time
from pathlib import Path

import uvloop

FORMAT = struct.Struct("dd")
_INTERVAL = 0.001


class Ticker:
    def __init__(self, loop: asyncio.AbstractEventLoop, memory: mmap.mmap) -> None:
        self._loop = loop
        self._memory = memory
        self._delays: int | None = None
        loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._delays = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        self._waited = self._wait_for_a_core()
        self._at = time.perf_counter()
        self._loop.call_later(_INTERVAL, self._tick)

    def _tick(self) -> None:
        now, waited = time.perf_counter(), self._wait_for_a_core()
        late = now - self._at - _INTERVAL
        own = late - (waited - self._waited)
        longest, longest_own = FORMAT.unpack_from(self._memory)
        if late > longest or own > longest_own:
            FORMAT.pack_into(self._memory, 0, max(late, longest), max(own, longest_own))
        self._at, self._waited = now, waited
        self._loop.call_later(_INTERVAL, self._tick)

    def _wait_for_a_core(self) -> float:
        assert self._delays is not None
        return int(os.pread(self._delays, 100, 0).split()[1]) / 1e9


def main() -> None:
    file, script, *arguments = sys.argv[1:]
    with Path(file).open("r+b") as opened:
        memory = mmap.mmap(opened.fileno(), FORMAT.size)
    make = uvloop.new_event_loop

    def with_ticker() -> uvloop.Loop:
        loop = make()
        Ticker(loop, memory)
        return loop

    uvloop.new_event_loop = with_ticker
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
