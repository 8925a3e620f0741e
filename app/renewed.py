"""What is read from files and read again when they have changed, while the service runs."""

import logging
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from app.settings import SettingsError

T = TypeVar("T")

_LOOK_AGAIN_SECONDS = 1.0


class Renewed(Generic[T]):
    """Something that stands in files, as it stood there at most a second ago.

    `look` gives what tells the files' present state from another, and a function that reads them; `tell` hears of what
    was read later on. Where either raises then, what was read before stays, and `log` says so once, by the sentence
    `stays` with the reason. Raises whatever they raise at first.
    """

    def __init__(
        self,
        look: Callable[[], tuple[Hashable, Callable[[], T]]],
        tell: Callable[[T], None],
        log: logging.Logger,
        stays: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._tell = tell
        self._log = log
        self._stays = stays
        self._clock = clock
        self._seen, read = look()
        self._value = read()
        self._looked_at = clock()
        self._complaint = ""

    @property
    def latest(self) -> T:
        """What was read last, without another look."""
        return self._value

    def now(self) -> T:
        """What the files hold, or held when they could last be used."""
        moment = self._clock()
        if moment - self._looked_at >= _LOOK_AGAIN_SECONDS:
            self._looked_at = moment
            try:
                self._look_again()
            except (SettingsError, OSError, ValueError) as error:
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    self._log.error(self._stays, error)
            else:
                self._complaint = ""
        return self._value

    def _look_again(self) -> None:
        found, read = self._look()
        if found != self._seen:
            self._value = read()
            self._seen = found
            self._tell(self._value)
