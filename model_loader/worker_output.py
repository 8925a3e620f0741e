"""What a model prints: lines from the worker's stdout and stderr, handed on as they come."""

import asyncio
import os
from collections import deque
from collections.abc import Callable

_READ_AT_ONCE = 1 << 16
_LONGEST_LINE = 4096
_LAST_LINES = 20
#: A pipe holds 64 kB; who still writes into it after the worker's end is not waited for.
_READS_AT_END = 4


class WorkerOutput:
    """Reads one pipe on the event loop; `on_line` gets each line without its end.

    A line is cut at 4096 bytes, and a carriage return ends one too (progress bars). `last_lines` keeps the most recent
    few for the error text when the worker dies.
    """

    def __init__(self, descriptor: int, on_line: Callable[[str], None]) -> None:
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._descriptor = descriptor
        self._on_line = on_line
        self._pending = b""
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._readable)

    def close(self) -> None:
        """Hand on what is still in the pipe, which a left-over child may keep open, and let go of it."""
        for _ in range(_READS_AT_END):
            if self._descriptor < 0 or not self._readable():
                break
        self._end()

    def _readable(self) -> bool:
        try:
            data = os.read(self._descriptor, _READ_AT_ONCE)
        except BlockingIOError:
            return False
        if not data:
            self._end()
            return False
        *lines, self._pending = (self._pending + data.replace(b"\r", b"\n")).split(b"\n")
        for line in lines:
            self._hand_on(line)
        while len(self._pending) > _LONGEST_LINE:
            self._hand_on(self._pending[:_LONGEST_LINE])
            self._pending = self._pending[_LONGEST_LINE:]
        return True

    def _hand_on(self, line: bytes) -> None:
        text = line[:_LONGEST_LINE].decode("utf-8", "backslashreplace").rstrip()
        if text:
            self.last_lines.append(text)
            self._on_line(text)

    def _end(self) -> None:
        if self._descriptor >= 0:
            self._hand_on(self._pending)
            self._pending = b""
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
