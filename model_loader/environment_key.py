"""The name of an environment in the cache: a digest of everything that decides what gets installed."""

import hashlib
import json
from pathlib import Path

from model_loader.environment_cache import SCHEMA
from model_loader.installer import Installer
from model_loader.package import ModelPackage
from model_loader.package_venv import Recipe
from model_loader.uv_process import redact

_DECIDING = (
    "UV_BUILD_CONSTRAINT",
    "UV_CONSTRAINT",
    "UV_DEFAULT_INDEX",
    "UV_EXCLUDE",
    "UV_EXCLUDE_NEWER",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_FORK_STRATEGY",
    "UV_INDEX",
    "UV_INDEX_STRATEGY",
    "UV_INDEX_URL",
    "UV_NO_BINARY",
    "UV_NO_BINARY_PACKAGE",
    "UV_NO_BUILD",
    "UV_NO_BUILD_PACKAGE",
    "UV_OVERRIDE",
    "UV_PRERELEASE",
    "UV_RESOLUTION",
)
"""uv's variables that change what a requirement resolves to; others change how it gets here, or nothing."""


def environment_key(package: ModelPackage, recipe: Recipe, installer: Installer) -> str:
    """Return a SHA-256 in hexadecimal over what goes into the environment, where the package lies left out.

    Credentials in index addresses do not count. What an index offers, and what a branch in a ``git+https``
    line points to, may change without changing the key.
    """
    interpreter, requirements = recipe.interpreter, recipe.requirements
    deciding = {name: installer.environ[name] for name in _DECIDING if installer.environ.get(name)}
    # A folder that a line installs is source code, with whatever lies in it.
    inside = [folder for folder in requirements.local_folders if folder.resolve().is_relative_to(package.root)]
    outside = sorted(set(requirements.local_folders) - set(inside))
    parts = {
        "schema": SCHEMA,
        "interpreter": [str(interpreter.path), interpreter.version, interpreter.tag],
        "preinstalled": list(recipe.preinstalled),
        "requirements": [_file(file) for file in requirements.files],
        "lock": recipe.lock and recipe.lock.text,
        # Whether torch is among it shows only when all is resolved. What two builds share, uv keeps once.
        "torch": recipe.torch and recipe.torch.builds,
        "wheels": [_file(file) for file in sorted({*requirements.local_files, *package.mdai.glob("*.whl")})],
        "package": package.digest if inside else None,
        "env": package.config.env,
        "folders": [_file(file) for folder in outside for file in sorted(folder.rglob("*")) if file.is_file()],
        "settings": {name: redact(value) for name, value in deciding.items()},
        "settings files": [_file(Path(word)) for value in deciding.values() for word in value.split()],
        "arguments": [*installer.arguments, installer.require_hashes, installer.overrules_index(requirements)],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _file(path: Path) -> list[str]:
    """Return a file's name and digest; a name alone where it is no file that can be read."""
    try:
        with path.open("rb") as file:
            return [path.name, hashlib.file_digest(file, "sha256").hexdigest()]
    except OSError:
        return [redact(path.name)]
