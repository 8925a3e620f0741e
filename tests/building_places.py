"""A plugin of pytest's: caches to build environments in, and a machine that takes packages from a folder.

A module that says ``pytest_plugins = ("tests.building_places",)`` has these fixtures.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_loader.environment import EnvironmentRequest, build_environment
from tests.building import ignore, open_with


@pytest.fixture(scope="session")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The workers' msgpack, installed once for all tests, and in use until their end; a cache's `runtime` folder."""
    cache = tmp_path_factory.mktemp("cache")
    given = EnvironmentRequest(mode=Path(sys.executable))
    package = open_with(tmp_path_factory.mktemp("package"))
    environment = build_environment(package, given, cache=cache, progress=ignore, environ=os.environ)
    yield cache / "runtime"
    for held in environment.held:
        held.release()


@pytest.fixture
def cache(tmp_path: Path, runtimes: Path) -> Path:
    """A cache without environments."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/runtime").symlink_to(runtimes)
    return tmp_path / "cache"


@pytest.fixture
def local(tmp_path: Path) -> dict[str, str]:
    """A machine whose pip is configured to take everything from the folder `wheels`, and no network."""
    (tmp_path / "wheels").mkdir()
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nno-index = true\nfind-links = {tmp_path}/wheels\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return environ | {"PIP_CONFIG_FILE": str(config)}
