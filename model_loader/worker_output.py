"""What a model prints: lines from the worker's stdout and stderr, handed on as they come."""

import asyncio
import os
import re
from collections import deque
from collections.abc import Callable

from model_loader.output_rate import OutputRate

_READ_AT_ONCE = 1 << 16
_LONGEST_LINE = 4096
_LAST_LINES = 20
#: Colours and movements of the cursor, which mean nothing in a log.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
#: Lines handed on before the event loop turns to others: a few milliseconds' worth of logging.
_LINES_AT_ONCE = 100
#: A pipe holds 64 kB; who goes on writing into it is not waited for.
_READS_AT_ONCE = 4
#: After so long it is told how many lines over the rate were left out.
_NOTE_SECONDS = 1.0


class WorkerOutput:
    """Reads one pipe on the event loop; `on_line` gets each line without its end, and whose it is.

    That is what `belongs_to` was given last when the line was read: a request's id, or "". Where there is a `rate`,
    lines over it are left out and counted, and their number is told in their place.

    Lines come without terminal escape sequences. A line is cut at 4096 bytes, and a carriage return ends one too
    (progress bars). `last_lines` keeps the most recent few for the error text when the worker dies.

    A model that prints more than can be handed on waits for its pipe to be read: neither memory nor pauses of the
    event loop grow with what it prints.
    """

    def __init__(self, descriptor: int, on_line: Callable[[str, str], None], rate: OutputRate | None = None) -> None:
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._descriptor = descriptor
        self._on_line = on_line
        self._rate = rate
        self._owner = ""
        self._pending = b""
        self._lines: deque[tuple[bytes, str]] = deque()
        self._left_out = 0
        self._left_out_of = ""
        self._note: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._is_turn_taken = False
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._readable)

    def belongs_to(self, owner: str, *, has_news: bool = True) -> None:
        """What is printed from now on is `owner`'s; nothing older is kept for the error text.

        Without `has_news` the pipe is known to be empty.
        """
        if not has_news and not self._pending and not self._lines:
            self.last_lines.clear()
            self._owner = owner
            return
        for _ in range(_READS_AT_ONCE):
            if self._descriptor < 0 or not self._read():
                break
        self._keep([self._pending])
        self._pending = b""
        self.last_lines.clear()
        self._owner = owner
        self._hand_on()

    def close(self) -> None:
        """Let go of the pipe, which a left-over child may keep open; what is still in it is handed on."""
        for _ in range(_READS_AT_ONCE):
            if self._descriptor < 0 or not self._read():
                break
        self._end()
        self._tell_left_out()
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
        self._lines.extend((line, self._owner) for line in self._within_rate(told))
        self.last_lines.extend(_text(line) for line in told[-_LAST_LINES:])

    def _within_rate(self, lines: list[bytes]) -> list[bytes]:
        """The first so many of `lines`."""
        if self._rate is None:
            return lines
        admitted = self._rate.admitted([min(len(line), _LONGEST_LINE) for line in lines])
        if admitted < len(lines):
            if self._note is None:
                self._left_out_of = self._owner
                self._note = self._loop.call_later(_NOTE_SECONDS, self._note_is_due)
            elif self._left_out_of != self._owner:
                self._left_out_of = ""  # lines of several requests
            self._left_out += len(lines) - admitted
        return lines[:admitted]

    def _note_is_due(self) -> None:
        self._tell_left_out()
        self._hand_on()

    def _tell_left_out(self) -> None:
        if self._note is not None:
            self._note.cancel()
            self._note = None
            note = f"… {self._left_out:,} line{'' if self._left_out == 1 else 's'} that the model printed were left out"
            self._lines.append((note.encode(), self._left_out_of))
            self._left_out = 0

    def _hand_on(self) -> None:
        for _ in range(min(len(self._lines), _LINES_AT_ONCE)):
            line, owner = self._lines.popleft()
            self._on_line(_text(line), owner)
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
