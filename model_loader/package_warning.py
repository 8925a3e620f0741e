"""What is said about a package that is served all the same: a sentence that knows what and where it is about."""

from typing import Self


class PackageWarning(str):
    """A whole sentence. It is a `str`, to be logged and sent as it stands; the rest is for who wants to do more.

    `kind` is one word or two for the kind of fault. `file` is relative to the model root, `line` counts from 1, `key`
    is what the line is about (a key of config.yaml), and `said` is the sentence without the place before it.
    """

    kind: str
    file: str
    line: int | None
    key: str
    said: str

    def __new__(
        cls, text: str, *, kind: str, file: str, line: int | None = None, key: str = "", said: str = ""
    ) -> Self:
        """The sentence `text`, which names its place in its own way."""
        self = super().__new__(cls, text)
        self.kind, self.file, self.line, self.key, self.said = kind, file, line, key, said or text
        return self

    @classmethod
    def at(cls, file: str, line: int | None, said: str, *, kind: str, key: str = "") -> Self:
        """`said`, with its place before it."""
        return cls(f"{place(file, line)}: {said}", kind=kind, file=file, line=line, key=key, said=said)


def place(file: str, line: int | None) -> str:
    """A place as sentences name it: `.mdai/config.yaml, line 3`."""
    return f"{file}, line {line}" if line else file
