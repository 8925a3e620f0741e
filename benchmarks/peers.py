"""LitServe beside ours: the same packages, requests and client, both sides in turns of one run."""

import json
import subprocess
from dataclasses import replace
from importlib.metadata import version

from benchmarks.environments import bin_folder
from benchmarks.rows import BY_NAME, Row

SIDES = ("litserve", "ours")

# What the models import has the version that it has beside ours.
REQUIREMENTS = (
    "litserve>=0.2.17,<0.3",
    "uvloop>=0.21,<1",
    "httptools>=0.6,<1",
    *(f"{name}=={version(name)}" for name in ("msgpack", "numpy", "pydicom")),
)
_TOLD = ("litserve", "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "msgpack", "numpy", "pydicom")

_NAMES = (
    *("empty", "empty-8", "body-0.5MB", "body-50MB", "body-50MB-4", "classify-100-4", "segment-20-lists"),
    *("hold", "abort"),
)
#: The rows that compare the servers and not how a model returns its masks. Goals are about the reference.
ROWS: tuple[Row, ...] = tuple(replace(BY_NAME[name], goal=None) for name in _NAMES)


def python() -> str:
    """The interpreter that has LitServe. Raises EnvironmentMissing."""
    return str(bin_folder("litserve", REQUIREMENTS) / "python")


def versions() -> dict[str, str]:
    """Of the interpreter and of what LitServe runs on. Raises EnvironmentMissing."""
    code = (
        "import json, platform, sys; from importlib.metadata import version;"
        "print(json.dumps({'python': platform.python_version()} | {name: version(name) for name in sys.argv[1:]}))"
    )
    told = subprocess.run([python(), "-c", code, *_TOLD], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(told.stdout)
    return found
