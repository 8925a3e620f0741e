"""The API keys that are accepted (`credentials.py` finds those that requests bring).

Keys come from a file, one a line, which is read again when it changes, and from MDAI_MODEL_API_KEYS. What is kept and
compared are hashes, and no text says anything of a key but in which line or header it stands.
"""

import hashlib
import hmac
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from app.renewed import Renewed
from app.settings import ENV_PREFIX, Settings, SettingsError

VARIABLE = ENV_PREFIX + "API_KEYS"
SHORTEST_KEY = 16

_OPTION = "--api-key-file"
_NAMES = (ENV_PREFIX + "API_KEY_FILE", VARIABLE)
_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}")  # as RFC 6750 has tokens, so that a key fits into every header
_LARGEST_FILE = 64 * 1024
_STAYS = "The API keys of before stay in force, for the file has no new ones: %s"
_HOW_TO_MAKE = "`openssl rand -hex 32` makes one"
log = logging.getLogger(__name__)


class ApiKeys:
    """The accepted keys: `listed` ones for good, those of `file` as they stand there at most a second ago.

    A file that has become unreadable or wrong changes nothing: the keys of before stay, and the log says so once.
    Raises SettingsError where a key or the file is wrong from the start.
    """

    def __init__(
        self, file: Path | None = None, listed: str = "", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._listed = _hashes(_read_list(listed)) if listed else ()
        self._in_file = Renewed(partial(_look, file), self._tell, log, _STAYS, clock) if file else None

    def __bool__(self) -> bool:
        """Whether requests need a key at all."""
        return bool(self._listed) or self._in_file is not None

    def accepts(self, key: str) -> bool:
        """Whether `key` is one of those; how long that takes tells nothing of them."""
        accepted = self._listed + (self._in_file.now() if self._in_file else ())
        presented = _hash(key.encode())
        matches = [  # a list, so that none is left out once one is found
            hmac.compare_digest(presented, one) for one in accepted
        ]
        return any(matches)

    def _tell(self, in_file: tuple[bytes, ...]) -> None:
        log.info("The API keys were read again: %d accepted", len(self._listed + in_file))


def api_keys(settings: Settings) -> ApiKeys:
    """The keys that the options name. Raises SettingsError."""
    return ApiKeys(settings.api_key_file, settings.api_keys.get_secret_value() if settings.api_keys else "")


def doubts_about_keys(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[str]:
    """A warning for what makes keys weaker than they look.

    Raises SettingsError for a misspelt variable: whoever sets it believes that requests need a key.
    """
    warnings = []
    for name in sorted(environ):
        if not name.upper().startswith(ENV_PREFIX + "API_KEY"):
            continue
        if name.upper() not in _NAMES:
            raise SettingsError(f"{name} is no option, and without keys everybody is served: set {VARIABLE}.")
        if not environ[name]:
            warnings.append(f"{name} is set to nothing, which counts as not set: it brings no API key.")
    file = settings.api_key_file
    if file is not None and (mode := file.stat().st_mode) & (stat.S_IROTH | stat.S_IWOTH):
        verb = "change" if mode & stat.S_IWOTH else "read"
        warnings.append(f"Every user of this machine may {verb} the API keys in {file}: `chmod 600 {file}` ends that.")
    return warnings


def _look(file: Path) -> tuple[bytes, Callable[[], tuple[bytes, ...]]]:
    content = _file_content(file)
    return _hash(content), lambda: _hashes(_read_lines(content))


def _file_content(file: Path) -> bytes:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a fifo would keep us waiting
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SettingsError(f"{_OPTION}: {file} is no file. Name a file with one key a line.")
            content = os.read(descriptor, _LARGEST_FILE + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"{_OPTION}: {file} cannot be read: {reason}.") from None
    if len(content) > _LARGEST_FILE:
        raise SettingsError(f"{_OPTION}: {file} is over {_LARGEST_FILE // 1024} kB long, so it is no list of keys.")
    return content


def _read_lines(content: bytes) -> list[str]:
    """One key a line; what follows a # is a comment."""
    keys = []
    for number, line in enumerate(content.decode("utf-8-sig", "replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text:
            keys.append(_checked(text, f"{_OPTION}: the key in line {number}"))
    if not keys:
        raise SettingsError(f"{_OPTION}: the file holds no key. Write one a line; {_HOW_TO_MAKE}.")
    return keys


def _read_list(text: str) -> list[str]:
    words = re.findall(r"[^\s,]+", text)
    if not words:
        raise SettingsError(f"{VARIABLE} holds no key. Set it to one or several, with spaces between; {_HOW_TO_MAKE}.")
    return [_checked(word, f"{VARIABLE}: key {number}") for number, word in enumerate(words, 1)]


def _checked(key: str, place: str) -> str:
    if not _KEY.fullmatch(key):
        raise SettingsError(
            f"{place} holds something else than letters, digits and . _ ~ + / = -, or is over 512 long."
        )
    if len(key) < SHORTEST_KEY:
        raise SettingsError(f"{place} is shorter than {SHORTEST_KEY} characters and could be guessed; {_HOW_TO_MAKE}.")
    return key


def _hashes(keys: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(_hash(key.encode()) for key in dict.fromkeys(keys))


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
