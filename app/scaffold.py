"""`mdai-model init`: a package to start from.

The files lie beside this module in `template/`. Their `.mdai` folder is kept there as `mdai`, since tools
that pack and copy sources like to leave hidden folders out.
"""

from importlib.resources import files
from pathlib import Path, PurePosixPath

#: What a package is made of, in the order in which a person should read it; paths in `template/`.
TEMPLATE = ("README.md", "mdai/mdai_deploy.py", "mdai/requirements.txt", "mdai/config.yaml")


def write_package(folder: Path) -> list[Path]:
    """Write a commented package that runs as it is into `folder` and return the files written.

    The folder is made if need be and may hold other files. Nothing is ever overwritten: raises
    FileExistsError when one of the package's files is there already and NotADirectoryError when `folder` is
    something else than a folder. Their texts are sentences for a person, and nothing has been written then.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder: name one that is empty or does not exist yet.")
    if (folder / ".mdai").exists():
        raise FileExistsError(
            f"{folder} is a package already: it has a .mdai. Name another folder, or move that .mdai away."
        )
    targets = {name: folder / _in_package(name) for name in TEMPLATE}
    for target in targets.values():
        if target.exists() or target.is_symlink():
            raise FileExistsError(f"{target} exists already: name another folder, or move that file away.")
    for name, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(files("app").joinpath("template", name).read_bytes())
    return list(targets.values())


def _in_package(name: str) -> PurePosixPath:
    """Where the template's file `name` lies in the package: `mdai/…` becomes `.mdai/…`."""
    first, *rest = PurePosixPath(name).parts
    return PurePosixPath(".mdai" if first == "mdai" else first, *rest)
