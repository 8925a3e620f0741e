"""Packages as people wrote them from 2019 on, each with the Python and the libraries that it pins, built from the index
and asked about real images.

These take minutes: `make test-environments` runs them, `make test` does not.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from model_loader.installer import Installer
from model_loader.uv_process import Cancellation, UvFailed
from tests.building import ignore
from tests.hosting import PACKAGES
from tests.interpreters import SERIES, cache_with_runtimes, interpreter

pytestmark = pytest.mark.environments

ENVIRONMENTS = Path(__file__).parents[1] / "environments"
#: Seconds that building and loading may take; TensorFlow comes with a gigabyte.
PATIENCE = 600.0
#: One as it is, one for which the decoders of that environment are needed.
IMAGES = ("CT_small.dcm", "JPEG2000.dcm")
#: Where keras 2.3.1, tensorflow 1.15 and all that they need are there, and h5py 3 is not yet.
KERAS_DAY = "2020-06-30"


@dataclass(frozen=True)
class Case:
    """A package in `tests/environments`.

    `options` are for `serve`, `versions` what the model must have found of projects that it does not pin itself.
    """

    package: str
    python: str
    options: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join((self.package, *self.options))


CASES = [
    Case("tensorflow_2_2", "3.7"),
    Case("tensorflow_1_15", "3.7", versions={"protobuf": "3.20.3"}),
    Case(
        "keras_on_tensorflow_1",
        "3.7",
        ("--exclude-newer", KERAS_DAY),
        versions={"h5py": "2.10.0", "protobuf": "3.12.2", "numpy": "1.19.0"},
    ),
    Case("fastapi_0_40", "3.7", versions={"pydantic": "0.32.2"}),
    Case("scikit_image_0_18", "3.8"),
    Case("onnxruntime_1_14", "3.10", versions={"protobuf": "3.20.3"}),
    Case("numpy_2", "3.13"),
]


@pytest.fixture(scope="module", autouse=True)
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The package index that this machine is configured for; skips where it is not reached."""
    installer = Installer(os.environ, progress=ignore, cancellation=Cancellation())
    try:
        installer.uv(tmp_path_factory.mktemp("project")).run(
            *("pip", "install", "--python", sys.executable, "--dry-run", "--reinstall", "--refresh", "--no-deps"),
            *installer.arguments,
            "six",
        )
    except UvFailed as error:
        pytest.skip(f"the package index is not reachable: {error.output.splitlines()[-1]}")


@pytest.fixture
def cache(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Empty but for the workers' msgpack; gone afterwards, since these environments are large."""
    folder = cache_with_runtimes(tmp_path, tmp_path_factory)
    yield folder
    shutil.rmtree(folder / "environments", ignore_errors=True)


@pytest.fixture
def served(cache: Path, serve: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Serves a copy of a package of `tests/environments` whose requirements may be others."""

    def start(name: str, *options: str, requirements: str | None = None) -> Any:
        package = shutil.copytree(ENVIRONMENTS / name, tmp_path / name)
        if requirements is not None:
            (package / ".mdai/requirements.txt").write_text(requirements)
        return serve(package, *options, patience=PATIENCE)

    return start


def installed_here() -> str:
    """What the server's own environment holds, as an installer sees it."""
    command = [Path(sys.executable).with_name("uv"), "pip", "list", "--python", sys.executable, "--format", "json"]
    return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL)


def pins(package: str) -> dict[str, str]:
    lines = (ENVIRONMENTS / package / ".mdai/requirements.txt").read_text().split()
    return dict(line.split("==") for line in lines if "==" in line)


def expected_mask(dataset: pydicom.Dataset) -> list[list[int]]:
    """What each of the packages computes: where the nine pixels around one are brighter than the whole image."""
    pixels = dataset.pixel_array.astype(np.float64)
    padded = np.pad(pixels, 1)
    sums = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).sum((2, 3))
    mask: list[list[int]] = (sums > 9 * pixels.mean()).astype(int).tolist()
    return mask


def ask(service: Any, path: Path) -> list[dict[str, Any]]:
    request = {"files": [{"content": path.read_bytes(), "content_type": "application/dicom"}]}
    answer = service.post(content=msgpack.packb(request), headers={"Content-Type": "application/msgpack"})
    assert answer.status_code == 200, answer.text
    outputs: list[dict[str, Any]] = msgpack.unpackb(answer.content)
    return outputs


def assert_computes(service: Any) -> dict[str, str]:
    """That it answers for real images with what numpy computes here; returns the versions that the model tells."""
    for name in IMAGES:
        path = Path(str(get_testdata_file(name, download=False)))
        dataset = pydicom.dcmread(path)
        first, *others = ask(service, path)
        assert first["data"]["mask"] == expected_mask(dataset)
        assert first["probability"] == pytest.approx(np.mean(first["data"]["mask"]))
        assert first["instance_uid"] == dataset.SOPInstanceUID
        for box in others:
            assert 0 < box["data"]["x"] + box["data"]["width"] <= dataset.Columns
    told: dict[str, str] = json.loads(first["note"])
    return told


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_package_computes_with_the_versions_that_it_pins_and_the_server_s_do_not_move(
    case: Case, served: Callable[..., Any]
) -> None:
    interpreter(case.python)
    before = installed_here()
    service = served(case.package, *case.options).wait_until_ready()
    told = assert_computes(service)
    environment = service.get("/info").json()["environment"]
    assert environment["python"].startswith(f"{case.python}.")
    for project, version in (pins(case.package) | case.versions).items():
        assert environment["packages"][project] == version
        assert told.get(project, version) == version
    assert service.stop() == 0
    assert installed_here() == before


@pytest.mark.parametrize("python", SERIES)
def test_every_python_serves_a_package_with_libraries_that_the_server_could_not_run_with(
    python: str, cache: Path, serve: Callable[..., Any]
) -> None:
    interpreter(python)
    service = serve(PACKAGES / "pins_old_versions", "--python", python, patience=PATIENCE).wait_until_ready()
    request = {"files": [{"content": b"x", "content_type": "text/plain"}]}
    answer = service.post(content=msgpack.packb(request), headers={"Content-Type": "application/msgpack"})
    told = json.loads(msgpack.unpackb(answer.content)[0]["note"])
    assert (told["msgpack"], told["content arrived"]) == ([0, 6, 2], True)
    assert told["pydantic"].startswith("1.")
    assert service.get("/info").json()["environment"]["python"].startswith(f"{python}.")


def test_pydantic_1_beside_the_first_fastapi_that_takes_it(served: Callable[..., Any]) -> None:
    interpreter("3.7")
    requirements = "fastapi==0.44.0\npydantic==1.10.2\nmsgpack==0.6.2\nprotobuf==3.20.1\nnumpy==1.18.5\n"
    told = assert_computes(served("fastapi_0_40", requirements=requirements).wait_until_ready())
    assert (told["fastapi"], told["pydantic"]) == ("0.44.0", "1.10.2")


def test_pins_that_exclude_each_other_are_told_in_the_installer_s_words(served: Callable[..., Any]) -> None:
    """pip refuses these two as well."""
    interpreter("3.7")
    service = served("fastapi_0_40", requirements="fastapi==0.40.0\npydantic==1.10.2\n")
    service.wait_for_line("cannot be installed on Python 3.7")
    reason = service.get("/ready").text
    assert "fastapi==0.40.0 depends on pydantic==0.32.2" in reason
    assert "you require pydantic==1.10.2" in reason


def test_what_a_package_leaves_open_is_today_s_and_where_that_breaks_it_the_reason_says_what_helps(
    served: Callable[..., Any],
) -> None:
    """keras 2.3.1 cannot read weights with h5py 3, which its metadata allows."""
    interpreter("3.7")
    service = served("keras_on_tensorflow_1")
    service.wait_for_line("'str' object has no attribute 'decode'")
    reason = service.get("/ready").text
    assert "h5py<3" in reason
    assert "--exclude-newer" in reason
