"""The page of each code: `docs/checks/` in the sources, to which the folder `pages` beside this module is a link."""

from pathlib import Path

_FOLDER = Path(__file__).with_name("pages")


class NoSuchPage(Exception):
    """No code has this name; the text says so."""


def page(code: str) -> str:
    """What `docs/checks/<code>.md` says, whatever the case of `code`. Raises NoSuchPage."""
    name = code.strip().upper()
    names = codes_with_pages()
    if name not in names:
        raise NoSuchPage(f"{code!r} is no code of a finding. There are {', '.join(names)}.")
    return (_FOLDER / f"{name}.md").read_text(encoding="utf-8")


def codes_with_pages() -> list[str]:
    """The names of all codes that have a page, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("[A-Z][0-9]*.md"))
