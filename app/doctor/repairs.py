"""Deeds that more than one kind of repair consists of."""

from collections.abc import Callable
from pathlib import Path


def moving(path: Path, target: Path) -> Callable[[], None]:
    """Moves a file to where nothing is yet, or gives it another spelling of the same name."""

    def apply() -> None:
        if target.exists() and not target.samefile(path):
            raise FileExistsError(f"{target} is there already")
        path.rename(target)

    return apply
