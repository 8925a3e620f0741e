"""The page of each code: `docs/checks/` in the sources, laid beside this module in an installation."""

from pathlib import Path

_FOLDERS = (Path(__file__).with_name("pages"), Path(__file__).parents[2] / "docs" / "checks")


class NoSuchPage(Exception):
    """No code has this name; the text says so."""


def page(code: str) -> str:
    """What `docs/checks/<code>.md` says, whatever the case of `code`. Raises NoSuchPage."""
    name = code.strip().upper()
    names = codes_with_pages()
    if name not in names:
        raise NoSuchPage(f"{code!r} is no code of a finding. There are {', '.join(names)}.")
    return (_folder() / f"{name}.md").read_text(encoding="utf-8")


def codes_with_pages() -> list[str]:
    """The names of all codes that have a page, sorted."""
    return sorted(path.stem for path in _folder().glob("[A-Z][0-9]*.md"))


def _folder() -> Path:
    return next(folder for folder in _FOLDERS if folder.is_dir())
