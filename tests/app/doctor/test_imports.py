"""What the doctor says about imports, without an environment and with one."""

import os
import shutil
from pathlib import Path

import pytest

from app.doctor import imports
from app.doctor.finding import Finding
from app.doctor.subject import Subject
from model_loader.environment import EnvironmentRequest, ModelEnvironment, build_environment
from tests.building import build, ignore, write_wheel
from tests.doctoring import SILENT, subject_of, write_model
from tests.interpreters import OLDEST_AND_NEWEST, cache_with_runtimes, interpreter

pytest_plugins = ("tests.building_places",)

REPOSITORY = Path(__file__).resolve().parents[3]
MAIN = ".mdai/mdai_deploy.py"


def subject(folder: Path, code: str, files: dict[str, str | bytes] | None = None, python: str = "3.8") -> Subject:
    return subject_of(write_model(folder / "model", {MAIN: f"{code}\n{SILENT}", **(files or {})}), python)


def found(examined: Subject) -> list[tuple[str, str]]:
    return [(one.code.name, str(one.place)) for one in imports.examine(examined)]


@pytest.mark.parametrize(
    ("code", "files"),
    [
        ("from lib.netwrok import Net", {"lib/network.py": ""}),
        ("import models.unet.layers", {"models/unet.py": ""}),
        ("def f():\n    pass\nimport nets.far.away", {"nets/__init__.py": "", "nets/near/x.py": ""}),
    ],
)
def test_a_part_of_the_package_that_is_not_there(tmp_path: Path, code: str, files: dict[str, str | bytes]) -> None:
    assert found(subject(tmp_path, code, files)) == [("I003", f"{MAIN}:{len(code.splitlines())}")]


@pytest.mark.parametrize(
    ("code", "files"),
    [
        ("from lib.network import Net", {"lib/network.py": ""}),
        ("from lib.network import Net", {"network.py": ""}),
        ("from lib.network import Net", {"lib/other.py": "", "network.py": ""}),
        ("import lib.deep.down.unet", {"deep/down/unet.py": ""}),
        ("try:\n    import lib.fast\nexcept ImportError:\n    pass", {"lib/slow.py": ""}),
        ("import torch.nn", {"torch/weights.bin": b""}),
        ("import nets.fast", {"nets/__init__.py": "", "nets/fast.cpython-38-x86_64-linux-gnu.so": b""}),
        ("import nets.moved", {"nets/__init__.py": "__path__.append('x')"}),
        ("import numpy.linalg, os.path", {}),
    ],
)
def test_parts_that_are_there_or_may_be(tmp_path: Path, code: str, files: dict[str, str | bytes]) -> None:
    assert found(subject(tmp_path, code, files)) == []


def test_the_nearest_module_is_named(tmp_path: Path) -> None:
    (one,) = imports.examine(subject(tmp_path, "from lib.netwrok import Net", {"lib/network.py": ""}))
    assert one.fix == "Did you mean `lib.network`?"


def test_mdai_deploy_is_in_no_package(tmp_path: Path) -> None:
    (one,) = imports.examine(subject(tmp_path, "from .network import Net", {".mdai/network.py": ""}))
    assert (one.code.name, one.place.line) == ("I012", 1)
    assert (
        found(subject(tmp_path, "try:\n    from .network import Net\nexcept ImportError:\n    from network import Net"))
        == []
    )


def test_what_mdai_deploy_does_not_have_yet_cannot_be_taken(tmp_path: Path) -> None:
    code = "SIZE = 3\nimport near\nTHRESHOLD = 0.5"
    late = {"near.py": "import far\n", "far.py": "from mdai_deploy import THRESHOLD\n"}
    assert found(subject(tmp_path / "late", code, late)) == [("I009", "far.py:1")]
    early = {"near.py": "from mdai_deploy import SIZE\ndef f():\n    from mdai_deploy import THRESHOLD\n"}
    assert found(subject(tmp_path / "early", code, early)) == []


@pytest.mark.parametrize(
    ("code", "requirements", "name"),
    [
        ("I005", "", "numpy.py"),
        ("I005", "torch==1.4\n", ".mdai/torch.py"),
        ("I005", "scikit-learn==1.0\n", "sklearn.py"),
        ("I004", "lung-mask==1.0\n", "lung_mask/__init__.py"),
        ("I005", "", "rle.py"),
        (None, "", "torch.py"),
        (None, "torch==1.4\n", "torch/readme.txt"),
        (None, "torch==1.4\n", "lib/torch.py"),
        (None, "", "test.py"),
        (None, "", "utils.py"),
    ],
)
def test_a_module_in_front_of_a_library(tmp_path: Path, code: str | None, requirements: str, name: str) -> None:
    examined = subject(tmp_path, "", {".mdai/requirements.txt": requirements, name: ""})
    assert found(examined) == ([(code, name)] if code else [])


def test_a_module_in_front_of_what_a_library_needs(tmp_path: Path) -> None:
    assert found(subject(tmp_path / "a", "import nibabel", {"gzip.py": ""})) == [("I013", "gzip.py")]
    assert found(subject(tmp_path / "b", "import numpy", {"gzip.py": ""})) == []
    assert found(subject(tmp_path / "c", "import gdcm", {"dl/readme.txt": ""})) == [("I013", "dl")]
    assert found(subject(tmp_path / "d", "import numpy", {"dl/readme.txt": ""})) == []


def test_a_module_of_the_packages_that_is_never_imported(tmp_path: Path) -> None:
    own = {"random.py": "def shuffle_series(x):\n    return x\n"}
    assert found(subject(tmp_path / "a", "from random import shuffle_series", own)) == [("I006", f"{MAIN}:1")]
    assert found(subject(tmp_path / "b", "import random\nrandom.shuffle_series(1)", own)) == [("I006", f"{MAIN}:1")]
    assert found(subject(tmp_path / "c", "import random\nrandom.shuffle([])", own)) == []


def test_the_module_beside_a_file_is_not_the_one_that_comes(tmp_path: Path) -> None:
    twins = {"a/ops.py": "def f(): pass\n", "b/ops.py": "def f(): return 1\n", "b/net.py": "from ops import f\n"}
    (one,) = imports.examine(subject(tmp_path / "a", "import b.net", dict(twins)))
    assert (one.code.name, str(one.place)) == ("I007", "b/net.py:1")
    assert "`ops` is a/ops.py" in one.reason and "`from b import ops`" in one.fix
    said = {**twins, "b/net.py": "from b.ops import f\nfrom .ops import f as g\n"}
    assert found(subject(tmp_path / "b", "import b.net", dict(said))) == []
    same = {**twins, "b/ops.py": twins["a/ops.py"]}
    assert found(subject(tmp_path / "c", "import b.net", dict(same))) == []
    meant = {**twins, "b/ops.py": "def g(): pass\n"}
    assert found(subject(tmp_path / "d", "import b.net", dict(meant))) == []


def test_files_of_pythons_own_folders_are_reported_and_weights_are_not(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "sitecustomize.py": "print('hello')\n",
        "src/evil.pth": "import os; os.system('id')\n",
        "weights/model.pth": b"PK\x03\x04\x80\x02",
        "weights/old.pth": b"\x80\x02}q\x00.",
        "weights/pointer.pth": "version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    }
    assert found(subject(tmp_path, "", files)) == [("I008", "sitecustomize.py"), ("I008", "src/evil.pth")]


def test_the_examples_and_the_template_have_nothing(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "app/template/mdai", tmp_path / "template/.mdai")
    for folder in (tmp_path / "template", *sorted((REPOSITORY / "examples").glob("*/.mdai"))):
        assert found(subject_of(folder.parent if folder.name == ".mdai" else folder)) == []


def test_every_code_has_a_page_that_begins_with_it() -> None:
    for code in imports.CODES:
        page = (REPOSITORY / f"docs/checks/{code.name}.md").read_text()
        assert page.startswith(f"# {code.name}: {code.title}\n")


# With an environment.

CODE = """
import numpy, tiny
import own
import gone
import google.protobuf, google.gone
try:
    import fast
except ImportError:
    pass
if __name__ == "__main__":
    import pytest
import os, asyncio.events
def later():
    import also_gone, brought
"""


@pytest.fixture(params=OLDEST_AND_NEWEST)
def environment(
    request: pytest.FixtureRequest, tmp_path: Path, local: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> ModelEnvironment:
    """Holds wheels that stand for the baseline, for what is listed, and for what that brings along."""
    python, cache = interpreter(request.param), cache_with_runtimes(tmp_path, tmp_path_factory)
    package = subject(tmp_path, CODE, FILES).package
    build(package, cache, dict(os.environ), EnvironmentRequest(mode=python))  # the worker's msgpack, from an index
    write_wheel(tmp_path / "wheels", "numpy", "1.0")
    write_wheel(tmp_path / "wheels", "brought", "2.0")
    write_wheel(tmp_path / "wheels", "tiny", "3.0", requires=["brought"])
    write_wheel(tmp_path / "wheels", "protobuf", "3.20", module="google/protobuf")
    return build(package, cache, local, EnvironmentRequest(python=str(python), preinstalled=("numpy", "protobuf")))


FILES: dict[str, str | bytes] = {".mdai/requirements.txt": "tiny\n", ".mdai/own.py": ""}


def with_environment(examined: Subject, environment: ModelEnvironment) -> dict[tuple[str, int | None], Finding]:
    return {(one.code.name, one.place.line): one for one in imports.examine_with(examined, environment)}


def test_what_the_environment_has_to_provide(tmp_path: Path, environment: ModelEnvironment) -> None:
    """Nobody has gone, google.gone and also_gone; numpy and protobuf are there unasked, and brought comes with tiny."""
    findings = with_environment(subject(tmp_path, CODE, FILES), environment)
    assert set(findings) == {
        ("I001", 4), ("I001", 5), ("I002", 14), ("I010", 2), ("I010", 5), ("I011", 14),
    }  # fmt: skip
    assert "`google.gone`" in findings["I001", 5].reason
    assert "`numpy==1.0`" in findings["I010", 2].fix
    assert "brought 2.0" in findings["I011", 14].reason


def current() -> EnvironmentRequest:
    return EnvironmentRequest(mode="current")


@pytest.mark.parametrize(
    ("code", "files", "words"),
    [
        ("import netwrok", {"lib/network.py": ""}, "Did you mean `network`, which the package has?"),
        ("import skimage", {}, "It comes with scikit-image"),
        ("import numppy", {}, "Did you mean `numpy`, which the environment has?"),
        ("import cPickle", {}, "Python 2"),
        ("import some_thing", {}, "most likely some-thing"),
        (
            "import deepnet",
            {"src/deepnet/__init__.py": "", "src/other/x.py": "import deepnet"},
            "src/deepnet/__init__.py is there",
        ),
        ("import app", {}, "most likely app"),
    ],
)
def test_the_advice_goes_by_what_is_there(tmp_path: Path, code: str, files: dict[str, str | bytes], words: str) -> None:
    examined = subject(tmp_path, code, files)
    environment = build_environment(examined.package, current(), cache=tmp_path, progress=ignore, environ=os.environ)
    (one,) = (one for one in imports.examine_with(examined, environment) if one.code == imports.CODES[-4])
    assert words in one.fix


def test_folders_that_code_puts_on_the_path_are_believed(tmp_path: Path) -> None:
    code = "import sys\nsys.path.append('src')\nimport deepnet"
    examined = subject(tmp_path, code, {"src/deepnet/__init__.py": ""})
    environment = build_environment(examined.package, current(), cache=tmp_path, progress=ignore, environ=os.environ)
    assert with_environment(examined, environment) == {}


def test_asking_an_environment_runs_nothing_of_it(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    write_wheel(tmp_path / "wheels", "loud", "1.0", f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    examined = subject(tmp_path, "import loud", {".mdai/requirements.txt": "loud\n"})
    environment = build(examined.package, cache, local)
    assert with_environment(examined, environment) == {}
    assert not (tmp_path / "ran").exists()


def test_parts_of_python_that_are_gone_or_to_come_are_told(tmp_path: Path) -> None:
    examined = subject(tmp_path, "import imp\nimport nowhere", python="3.13")
    python = interpreter("3.13")
    environment = ModelEnvironment(python, None, (), "", "3.13.0")
    findings = with_environment(examined, environment)
    assert "Python has no imp from 3.12 on" in findings["I001", 1].fix
    older = ModelEnvironment(interpreter("3.7"), None, (), "", "3.7.0")
    findings = with_environment(subject(tmp_path, "import graphlib", python="3.7"), older)
    assert "newer Pythons than 3.7" in findings["I001", 1].fix
