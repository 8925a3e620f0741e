"""What Pythons answered when they were asked, kept in the cache: to start one takes as long as all else of a start.

An answer is believed while the files that it rests on are the same, by size and time: the interpreter, its library, its
standard library. Refusals are never kept. The file is a convenience: whatever is wrong with it, Pythons are asked.
"""

import json
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

FILE = "pythons.json"

_SCRIPT = b"#!"
"""What a file begins with that may answer differently tomorrow, such as the shims of version tools."""


class KnownPythons:
    """Answers by question, in a file of `cache`; without one nothing is known, and nothing kept."""

    def __init__(self, cache: Path | None = None) -> None:
        self._file = None if cache is None else cache / FILE
        self._answers: dict[str, Any] = {}
        if self._file is not None:
            with suppress(OSError, ValueError):
                kept = json.loads(self._file.read_bytes())
                self._answers = kept if isinstance(kept, dict) else {}

    def recall(self, question: str) -> Any:
        """What was answered, as JSON gives it back; None where that is not known, or rests on what has changed."""
        kept: Any = self._answers.get(question)
        try:
            is_valid = all(_identity(file) == identity for file, identity in kept["files"].items())
            return kept["answer"] if is_valid else None
        except (TypeError, KeyError, AttributeError, OSError, ValueError):
            return None

    def note(self, question: str, answer: Any, files: Iterable[Path]) -> None:
        """Keep an answer, JSON-able and not None, that rests on these files."""
        if self._file is None:
            return
        try:
            if any(map(_is_script, paths := list(files))):
                return
            self._answers[question] = {"answer": answer, "files": {str(path): _identity(path) for path in paths}}
            self._answers = {asked: kept for asked, kept in self._answers.items() if self._is_of_use(asked)}
            _write(self._file, json.dumps(self._answers, indent=1))
        except (OSError, ValueError):
            return

    def forgotten(self) -> "KnownPythons":
        """Itself, with nothing known yet: everything is asked again, and kept."""
        self._answers.clear()
        return self

    def _is_of_use(self, question: str) -> bool:
        return self.recall(question) is not None


NOTHING_KNOWN = KnownPythons()


def _identity(path: str | Path) -> list[int]:
    status = Path(path).stat()
    return [status.st_size, status.st_mtime_ns]


def _is_script(path: Path) -> bool:
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return file.read(len(_SCRIPT)) == _SCRIPT


def _write(file: Path, text: str) -> None:
    """In one step, for others may read it."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f"{FILE}-", delete=False) as new:
        new.write(text)
    try:
        Path(new.name).replace(file)
    except OSError:
        Path(new.name).unlink(missing_ok=True)
        raise
