"""Log lines on their way out, on a thread of their own.

A pipe that nobody reads blocks who writes into it. That must not be the event loop, or a log collector that hangs
takes the service along. The thread takes lines in lots: woken for each, it would compete with the event loop for the
interpreter thousands of times a second.
"""

import logging
import threading
from typing import TextIO

#: Lines that wait while nobody reads; what comes then is counted and not kept.
MOST_WAITING = 5000
#: So many are written without waiting for more.
LOT = MOST_WAITING // 2
#: How long a line waits for others.
COLLECTING_SECONDS = 0.02
#: How long `flush`, and with it the end of the process, waits for somebody to read.
FLUSH_SECONDS = 1.0


class LogWriter(logging.Handler):
    """Writes to `stream` whatever is logged, in order; a stream that is gone or closed is no error.

    A line waits `seconds` for others, but for nothing once `flush` or `close` was called.
    """

    def __init__(self, stream: TextIO, *, seconds: float = COLLECTING_SECONDS) -> None:
        super().__init__()
        self._stream = stream
        self._seconds = seconds
        self._changed = threading.Condition()
        self._waiting: list[str] = []
        self._dropped = self._flushing = 0
        self._is_writing = self._is_closed = False
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Format the record here, where its request is known, and leave the rest to the thread."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 (as every handler of the standard library does)
            self.handleError(record)
            return
        with self._changed:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(line)
                # The thread sleeps only while nothing waits, or until there is a lot.
                if len(self._waiting) in (1, LOT):
                    self._changed.notify_all()
            else:
                self._dropped += 1

    def flush(self) -> None:
        """Wait, a second at most, until everything is written."""
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and not self._is_writing, FLUSH_SECONDS)
            self._flushing -= 1

    def close(self) -> None:
        """Write what is left, and end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self.flush()
        super().close()

    def _write(self) -> None:
        while lines := self._taken():
            try:
                self._stream.write("".join(f"{line}\n" for line in lines))
                self._stream.flush()
            except (OSError, ValueError):
                continue

    def _taken(self) -> list[str]:
        """Whatever waits, a moment after there is something; nothing once the handler is closed."""
        with self._changed:
            self._is_writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            self._changed.wait_for(
                lambda: self._flushing or self._is_closed or len(self._waiting) >= LOT, self._seconds
            )
            lines, self._waiting = self._waiting, []
            if self._dropped:
                text = f"{self._dropped:,} lines of the log were left out here: who reads it does not keep up."
                lines.append(self.format(logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)))
                self._dropped = 0
            self._is_writing = bool(lines)
            return lines
