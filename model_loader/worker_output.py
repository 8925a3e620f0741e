"""What a model prints: lines from the worker's stdout and stderr, handed on as they come."""

import asyncio
import os
import re
from collections import deque
from collections.abc import Callable

_READ_AT_ONCE = 1 << 16
_LONGEST_LINE = 4096
_LAST_LINES = 20
#: Colours and movements of the cursor, which mean nothing in a log.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
#: Lines handed on before the event loop turns to others: a few milliseconds' worth of logging.
_LINES_AT_ONCE = 100
#: A pipe holds 64 kB; who goes on writing into it is not waited for.
_READS_AT_ONCE = 4


class WorkerOutput:
    """Reads one pipe on the event loop; `on_line` gets each line without its end.

    Lines come without terminal escape sequences. A line is cut at 4096 bytes, and a carriage return ends one too
    (progress bars). `last_lines` keeps the most recent few for the error text when the worker dies.

    A model that prints more than can be handed on waits for its pipe to be read: neither memory nor pauses of the
    event loop grow with what it prints.
    """

    def __init__(self, descriptor: int, on_line: Callable[[str], None]) -> None:
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._descriptor = descriptor
        self._on_line = on_line
        self._pending = b""
        self._lines: deque[bytes] = deque()
        self._is_paused = False
        self._is_turn_taken = False
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._readable)

    def forget(self) -> None:
        """Read what was printed up to now, for another request, and keep none of it for the error text of the next."""
        for _ in range(_READS_AT_ONCE):
            if self._descriptor < 0 or not self._read():
                break
        self._keep([self._pending])
        self._pending = b""
        self.last_lines.clear()
        self._hand_on()

    def close(self) -> None:
        """Let go of the pipe, which a left-over child may keep open; what is still in it is handed on."""
        for _ in range(_READS_AT_ONCE):
            if self._descriptor < 0 or not self._read():
                break
        self._end()
        self._hand_on()

    def _readable(self) -> None:
        self._read()
        self._hand_on()

    def _read(self) -> bool:
        """Read once; False where there is nothing now or never again."""
        try:
            data = os.read(self._descriptor, _READ_AT_ONCE)
        except BlockingIOError:
            return False
        if not data:
            self._end()
            return False
        *lines, rest = (self._pending + data.replace(b"\r", b"\n")).split(b"\n")
        self._pending = rest[: _LONGEST_LINE + 1]
        self._keep(lines)
        return True

    def _keep(self, lines: list[bytes]) -> None:
        told = [line for line in lines if line.strip()]
        self._lines.extend(told)
        self.last_lines.extend(_text(line) for line in told[-_LAST_LINES:])

    def _hand_on(self) -> None:
        for _ in range(min(len(self._lines), _LINES_AT_ONCE)):
            self._on_line(_text(self._lines.popleft()))
        if self._lines:
            self._pause()
            if not self._is_turn_taken:
                self._is_turn_taken = True
                self._loop.call_soon(self._take_turn)
        elif self._is_paused and self._descriptor >= 0:
            self._is_paused = False
            self._loop.add_reader(self._descriptor, self._readable)

    def _take_turn(self) -> None:
        self._is_turn_taken = False
        self._hand_on()

    def _pause(self) -> None:
        if self._descriptor >= 0 and not self._is_paused:
            self._is_paused = True
            self._loop.remove_reader(self._descriptor)

    def _end(self) -> None:
        if self._descriptor >= 0:
            self._keep([self._pending])
            self._pending = b""
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def _text(line: bytes) -> str:
    text = _ESCAPES.sub("", line[:_LONGEST_LINE].decode("utf-8", "backslashreplace")).rstrip()
    return text if len(line) <= _LONGEST_LINE else text + " …"
