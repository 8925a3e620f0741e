"""How much of what a model prints is logged: a burst, and then so much a second."""

import time
from collections.abc import Callable, Sequence

#: What loading a talkative framework, or one request of a model that is being debugged, may print at once.
BURST_LINES, BURST_BYTES = 1_000, 1_000_000
#: What comes back of that in a second.
LINES_PER_SECOND, BYTES_PER_SECOND = 100, 100_000


class OutputRate:
    """What of one stream may still be logged, in lines and in bytes; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lines, self._bytes = float(BURST_LINES), float(BURST_BYTES)
        self._since = clock()

    def admitted(self, sizes: Sequence[int]) -> int:
        """How many of the next lines, of `sizes` bytes each, are within the rate; the others are lost."""
        now = self._clock()
        passed, self._since = now - self._since, now
        self._lines = min(BURST_LINES, self._lines + passed * LINES_PER_SECOND)
        self._bytes = min(BURST_BYTES, self._bytes + passed * BYTES_PER_SECOND)
        for count, size in enumerate(sizes):
            if self._lines < 1 or self._bytes < size:
                return count
            self._lines -= 1
            self._bytes -= size
        return len(sizes)
