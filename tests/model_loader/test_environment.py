"""Environments of models, built by the real uv for real interpreters."""

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import zipfile
from pathlib import Path
from queue import Queue

import pytest
from uv import find_uv_bin

from model_loader.environment import EnvironmentRequest, ModelEnvironment
from model_loader.errors import EnvironmentBuildError, InstallFailed, InterpreterNotFound
from model_loader.interpreters import find_interpreter
from model_loader.uv_process import BuildCancelled, Cancellation
from tests.building import OWN, build, open_with, told_by, write_wheel

pytest_plugins = ("tests.building_places",)

PATIENCE = 60.0


def write_source(folder: Path, scratch: Path, *lines: str) -> None:
    """Write the source of a project `slow`, whose build runs these lines first."""
    wheel = write_wheel(scratch, "slow", "1.0")
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "slow"\nversion = "1.0"\n'
    )
    (folder / "backend.py").write_text(
        "import os, shutil\n"
        "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
        + "".join(f"    {line}\n" for line in lines)
        + f"    return os.path.basename(shutil.copy({str(wheel)!r}, folder))\n"
    )


def attempts(cache: Path) -> list[Path]:
    return list(cache.glob("environments/*/build-*"))


# What is installed


def test_a_wheel_of_the_package_is_installed_from_its_own_folder(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    """`./x.whl` counts from .mdai, line ends of Windows do not matter, and nothing is written there."""
    write_wheel(tmp_path / "model/.mdai", "tiny", "1.5")
    package = open_with(tmp_path / "model", "# the model's own\r\n./tiny-1.5-py3-none-any.whl\r\n")
    before = sorted(path.name for path in (tmp_path / "model").rglob("*"))
    environment = build(package, cache, local)
    assert told_by(environment, "import tiny; print(tiny.V)") == "1.5"
    assert environment.packages == (("tiny", "1.5"),)
    assert environment.version == ".".join(map(str, sys.version_info[:3])) or environment.version.startswith(OWN)
    assert environment.description == f"Python {environment.version}, 1 packages"
    assert sorted(path.name for path in (tmp_path / "model").rglob("*")) == before


def test_modules_are_compiled_as_workers_write_no_bytecode(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    environment = build(open_with(tmp_path / "model", "tiny"), cache, local)
    folder = Path(told_by(environment, "import tiny; print(tiny.__file__)")).parent
    assert list(folder.glob("__pycache__/tiny.*.pyc"))


def test_a_package_without_requirements_gets_what_is_preinstalled(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    request = EnvironmentRequest(python=OWN, preinstalled=("tiny",))
    assert build(open_with(tmp_path / "model"), cache, local, request).packages == (("tiny", "1.0"),)


def test_the_package_s_pin_wins_over_what_is_preinstalled(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    for version in ("1.0", "1.5", "2.0"):
        write_wheel(tmp_path / "wheels", "tiny", version)
    request = EnvironmentRequest(python=OWN, preinstalled=("tiny<2",))
    assert build(open_with(tmp_path / "a", "tiny==1.0"), cache, local, request).packages[0][1] == "1.0"
    assert build(open_with(tmp_path / "b", "tiny"), cache, local, request).packages[0][1] == "1.5"
    assert build(open_with(tmp_path / "c", "tiny>=2"), cache, local, request).packages[0][1] == "2.0"


def test_the_machine_s_constraint_wins_over_the_range_of_what_is_preinstalled(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    for version in ("1.0", "2.0"):
        write_wheel(tmp_path / "wheels", "tiny", version)
    (tmp_path / "constraints.txt").write_text("tiny>=2\n")
    local["PIP_CONSTRAINT"] = str(tmp_path / "constraints.txt")
    request = EnvironmentRequest(python=OWN, preinstalled=("tiny<2",))
    assert build(open_with(tmp_path / "model"), cache, local, request).packages == (("tiny", "2.0"),)


def test_what_pip_is_configured_to_use_is_used(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    """The wheel lies where only pip's configuration points."""
    write_wheel(tmp_path / "hospital", "tiny", "1.0")
    (tmp_path / "pip.conf").write_text(f"[install]\nno-index = yes\nfind-links =\n  {tmp_path}/hospital\n")
    assert build(open_with(tmp_path / "model", "tiny"), cache, local).packages == (("tiny", "1.0"),)


def write_index(folder: Path, version: str) -> str:
    """Make the folder a package index that offers one release of tiny; return its address."""
    wheel = write_wheel(folder / "tiny", "tiny", version)
    (folder / "tiny/index.html").write_text(f'<!DOCTYPE html><a href="{wheel.name}">{wheel.name}</a>')
    return folder.as_uri()


def test_the_best_version_of_all_indexes_is_taken_as_pip_does(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    one, two = write_index(tmp_path / "one", "1.0"), write_index(tmp_path / "two", "2.0")
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {one}\nextra-index-url = {two}\n")
    assert build(open_with(tmp_path / "a", "tiny"), cache, local).packages == (("tiny", "2.0"),)
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {two}\nextra-index-url = {one}\n")
    assert build(open_with(tmp_path / "b", "tiny"), cache, local).packages == (("tiny", "2.0"),)


def test_the_file_s_own_index_replaces_pip_s_but_not_uv_s(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    configured, own = write_index(tmp_path / "one", "2.0"), write_index(tmp_path / "two", "1.0")
    package = open_with(tmp_path / "model", f"--index-url {own}\ntiny\n")
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {configured}\n")
    assert build(package, cache, local).packages == (("tiny", "1.0"),)
    local["UV_DEFAULT_INDEX"] = configured
    assert build(package, cache, local).packages == (("tiny", "2.0"),)


def test_pre_in_the_file_is_heeded(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    write_wheel(tmp_path / "wheels", "tiny", "2.0rc1")
    assert build(open_with(tmp_path / "a", "tiny"), cache, local).packages == (("tiny", "1.0"),)
    assert build(open_with(tmp_path / "b", "--pre\ntiny"), cache, local).packages == (("tiny", "2.0rc1"),)


@pytest.mark.parametrize("where", ["model/.mdai/uv.toml", "model/uv.toml", "uv.toml", "model/pyproject.toml"])
def test_settings_for_uv_that_lie_around_the_package_are_not_read(
    tmp_path: Path, cache: Path, local: dict[str, str], where: str
) -> None:
    """pip would not read them either."""
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    write_wheel(tmp_path / "wheels", "tiny", "2.0")
    package = open_with(tmp_path / "model", "tiny")
    section = "[tool.uv.pip]" if where.endswith("pyproject.toml") else "[pip]"
    (tmp_path / where).write_text(f'{section}\nresolution = "lowest"\n')
    assert build(package, cache, local).packages == (("tiny", "2.0"),)


def test_pins_older_than_the_baseline_win_and_pydicom_still_works(tmp_path: Path, runtimes: Path) -> None:
    """Today's decoders are compiled for a newer numpy and would make `import pydicom` fail."""
    try:
        find_interpreter("3.7", environ=os.environ)
    except InterpreterNotFound:
        pytest.skip("this machine has no Python 3.7")
    package = open_with(tmp_path / "model", "numpy==1.18.5\r\nmsgpack==0.6.2\r\npydantic<2\r\n")
    environment = build(package, runtimes.parent, dict(os.environ), EnvironmentRequest())
    installed = dict(environment.packages)
    assert environment.version.startswith("3.7.")
    assert (installed["numpy"], installed["msgpack"]) == ("1.18.5", "0.6.2")
    assert installed["pydantic"].startswith("1.")
    assert installed["protobuf"].startswith("3.20.")
    program = "import google.protobuf, msgpack, openjpeg, pydicom, pylibjpeg, rle; print(pydicom.__version__)"
    assert told_by(environment, program).startswith("2.")
    assert environment.runtime is not None
    private = f"import sys; sys.path.insert(0, {str(environment.runtime)!r}); import msgpack._cmsgpack as c; print(c)"
    assert str(environment.runtime) in told_by(environment, private)


def test_the_whole_baseline_is_there_for_a_package_that_lists_nothing(tmp_path: Path, runtimes: Path) -> None:
    environment = build(
        open_with(tmp_path / "model"), runtimes.parent, dict(os.environ), EnvironmentRequest(python=OWN)
    )
    installed = dict(environment.packages)
    assert installed["pydicom"].startswith("2.")
    assert installed["protobuf"].startswith("3.20.")
    decoded = """
        import pydicom
        from pydicom.data import get_testdata_file
        for name in ("JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm"):
            print(pydicom.dcmread(get_testdata_file(name, download=False)).pixel_array.shape)
    """
    assert len(told_by(environment, textwrap.dedent(decoded)).splitlines()) == 4


# The cache


def test_the_second_start_builds_nothing_and_needs_no_index(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    wheel = write_wheel(tmp_path / "wheels", "tiny", "1.0")
    first = build(open_with(tmp_path / "model", "tiny"), cache, local)
    wheel.unlink()
    lines: list[str] = []
    second = build(open_with(tmp_path / "moved", "tiny"), cache, local, progress=lines.append)
    assert (first.cached, second.cached) == (False, True)
    assert (first.python, first.key, first.packages) == (second.python, second.key, second.packages)
    assert second.description.endswith("(cached)")
    assert lines == []


def test_whatever_goes_in_changes_the_key(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    mdai = tmp_path / "model/.mdai"
    write_wheel(mdai, "tiny", "1.0")
    line = "./tiny-1.0-py3-none-any.whl\n"
    keys = [build(open_with(tmp_path / "model", line), cache, local).key]
    keys.append(build(open_with(tmp_path / "model", line + "# comment\n"), cache, local).key)
    with zipfile.ZipFile(mdai / "tiny-1.0-py3-none-any.whl", "a") as wheel:
        wheel.writestr("more.py", "")
    keys.append(build(open_with(tmp_path / "model", line), cache, local).key)
    write_wheel(tmp_path / "wheels", "other", "1.0")
    request = EnvironmentRequest(python=OWN, preinstalled=("other",))
    keys.append(build(open_with(tmp_path / "model", line), cache, local, request).key)
    local["PIP_CONSTRAINT"] = str(tmp_path / "constraints.txt")
    (tmp_path / "constraints.txt").write_text("tiny<3\n")
    keys.append(build(open_with(tmp_path / "model", line), cache, local).key)
    (tmp_path / "constraints.txt").write_text("tiny<2\n")
    keys.append(build(open_with(tmp_path / "model", line), cache, local).key)
    assert len(set(keys)) == len(keys)


def test_what_does_not_go_in_does_not_change_the_key(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    package = open_with(tmp_path / "model")
    local["UV_INDEX"] = "https://user:one@index.invalid/simple"
    first = build(package, cache, local)
    local |= {
        "UV_INDEX": "https://user:two@index.invalid/simple",
        "PIP_TIMEOUT": "7",
        "PIP_PROXY": "proxy.invalid:1",
    }
    (tmp_path / "model/weights.h5").write_bytes(b"other weights")
    assert build(open_with(tmp_path / "model"), cache, local).key == first.key


@pytest.mark.parametrize("damage", ["the venv is gone", "the interpreter is gone"])
def test_a_cached_environment_that_no_longer_runs_is_rebuilt(
    tmp_path: Path, cache: Path, local: dict[str, str], damage: str
) -> None:
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    package = open_with(tmp_path / "model", "tiny")
    first = build(package, cache, local)
    bin_folder = first.python.parent
    if damage == "the venv is gone":
        bin_folder.parent.rename(tmp_path / "away")
    else:
        first.python.unlink()
        first.python.symlink_to("/nonexistent/python")
    second = build(package, cache, local)
    assert not second.cached
    assert told_by(second, "import tiny; print(tiny.V)") == "1.0"
    assert len(attempts(cache)) == 1


class Gate:
    """A source package whose build tells that it started and waits until it may go on."""

    def __init__(self, tmp_path: Path) -> None:
        self.started, self.go_on = tmp_path / "started", tmp_path / "go-on"
        os.mkfifo(self.started)
        os.mkfifo(self.go_on)
        write_source(
            tmp_path / "model/.mdai/slow",
            tmp_path / "built",
            f"open({str(self.started)!r}, 'w').write(str(os.getpid()))",
            f"open({str(self.go_on)!r}).read()",
        )
        self.package = open_with(tmp_path / "model", "./slow\n")

    def wait(self) -> int:
        """Wait until a build has started; return a descriptor of its process."""
        return os.pidfd_open(int(self.started.read_text()))

    def open(self) -> None:
        """Let the build that waits go on."""
        self.go_on.write_text("")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def ended(process: int) -> bool:
    """Whether the process behind the descriptor has ended, waiting for that."""
    try:
        return bool(select.select([process], [], [], PATIENCE)[0])
    finally:
        os.close(process)


def test_two_starts_at_once_build_once(gate: Gate, cache: Path, local: dict[str, str]) -> None:
    results: Queue[ModelEnvironment] = Queue()
    lines: list[str] = []
    first = threading.Thread(target=lambda: results.put(build(gate.package, cache, local)))
    first.start()
    os.close(gate.wait())

    def progress(line: str) -> None:
        lines.append(line)
        if "waiting for it" in line:
            gate.open()

    second = build(gate.package, cache, local, progress=progress)
    first.join()
    assert results.get_nowait().python == second.python
    assert second.cached
    assert not any(line.startswith("Building") for line in lines)
    assert len(attempts(cache)) == 1


BUILDER = """
import json, os, sys
from pathlib import Path
from model_loader.environment import EnvironmentRequest, build_environment
from model_loader.package import open_package
root, cache, python = sys.argv[1:]
request = EnvironmentRequest(python=python, preinstalled=())
package = open_package(Path(root), scratch=Path(cache))
build_environment(package, request, cache=Path(cache), progress=print, environ=os.environ)
"""


def test_a_killed_build_is_not_trusted_and_leaves_no_process(gate: Gate, cache: Path, local: dict[str, str]) -> None:
    command = [sys.executable, "-c", BUILDER, gate.package.root, cache, OWN]
    with subprocess.Popen(command, env=local, stdout=subprocess.DEVNULL) as builder:
        process = gate.wait()
        builder.send_signal(signal.SIGKILL)
    assert ended(process)
    (left,) = attempts(cache)
    again = threading.Thread(target=lambda: (os.close(gate.wait()), gate.open()))
    again.start()
    environment = build(gate.package, cache, local)
    again.join()
    assert not environment.cached
    assert told_by(environment, "import slow; print(slow.V)") == "1.0"
    assert [left] != attempts(cache) == [environment.python.parents[2]]


def test_a_build_can_be_stopped_from_another_thread(gate: Gate, cache: Path, local: dict[str, str]) -> None:
    cancellation = Cancellation()
    ends: list[bool] = []

    def stop() -> None:
        process = gate.wait()
        cancellation.cancel()
        ends.append(ended(process))

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(BuildCancelled):
        build(gate.package, cache, local, cancellation=cancellation)
    stopper.join()
    assert ends == [True]
    assert attempts(cache) == []


# What goes wrong


def test_the_config_s_variables_are_in_force_while_requirements_are_installed(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    """As on the reference server; some packages refuse to be built without theirs."""
    mdai = tmp_path / "model/.mdai"
    write_source(mdai / "slow", tmp_path / "built", "assert os.environ['AGREED'] == 'True'")
    with pytest.raises(InstallFailed, match="AGREED"):
        build(open_with(tmp_path / "model", "./slow"), cache, local)
    (mdai / "config.yaml").write_text("env:\n  AGREED: True\n")
    assert told_by(build(open_with(tmp_path / "model", "./slow"), cache, local), "import slow; print(slow.V)") == "1.0"


def test_a_mistake_in_the_requirements_shows_before_anything_is_installed(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    lines: list[str] = []
    request = EnvironmentRequest(python=OWN, preinstalled=("tiny",))
    with pytest.raises(InstallFailed):
        build(open_with(tmp_path / "model", "nowhere"), cache, local, request, lines.append)
    assert not any("tiny" in line for line in lines)
    assert not any("nowhere" in line for line in lines), "uv's words are told once, in the error"


def test_everything_is_compiled_since_no_worker_writes_beside_its_code(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    for name in ("tiny", "other"):
        write_wheel(tmp_path / "wheels", name, "1.0")
    request = EnvironmentRequest(python=OWN, preinstalled=("other",))
    environment = build(open_with(tmp_path / "model", "tiny"), cache, local, request)
    compiled = {path.name.split(".")[0] for path in environment.python.parents[1].glob("lib/*/*/__pycache__/*.pyc")}
    assert {"tiny", "other"} <= compiled


@pytest.mark.parametrize(
    "requirements", ["numpy=1.19\n", "tiny==9\n", "tiny>=1\ntiny<1\n", "./missing-1.0-py3-none-any.whl\n"]
)
def test_requirements_that_cannot_be_installed_are_explained_in_uv_s_words(
    tmp_path: Path, cache: Path, local: dict[str, str], requirements: str
) -> None:
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    package = open_with(tmp_path / "model", requirements)
    with pytest.raises(InstallFailed) as caught:
        build(package, cache, local)
    text = str(caught.value)
    assert text.startswith(".mdai/requirements.txt of model cannot be installed on Python 3.")
    assert "base_image in .mdai/config.yaml" in text
    options = ["--no-index", "--find-links", tmp_path / "wheels", "-r", "requirements.txt", "--dry-run"]
    uv = [find_uv_bin(), "pip", "install", "--python", sys.executable, *options]
    said = subprocess.run(uv, cwd=package.mdai, env=local, capture_output=True, text=True).stderr
    assert said[said.index("error:") :].strip() in text
    assert attempts(cache) == []


def test_a_failed_build_is_tried_again_and_a_corrected_file_works(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    package = open_with(tmp_path / "model", "tiny")
    for _ in range(2):
        with pytest.raises(InstallFailed):
            build(package, cache, local)
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    assert not build(package, cache, local).cached


def test_what_is_preinstalled_and_not_to_be_had_is_a_failure_and_not_left_out(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    request = EnvironmentRequest(python=OWN, preinstalled=("tiny",))
    with pytest.raises(InstallFailed, match="beside its own requirements"):
        build(open_with(tmp_path / "model"), cache, local, request)


def test_an_index_s_password_is_never_shown(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://user:secret@127.0.0.1:9/simple\nretries = 0\n")
    lines: list[str] = []
    with pytest.raises(InstallFailed, match="pip config debug") as caught:
        build(open_with(tmp_path / "model", "tiny"), cache, local, progress=lines.append)
    assert "127.0.0.1:9" in str(caught.value)
    assert "secret" not in str(caught.value) + "".join(lines)


def test_an_offline_start_says_that_it_is_one(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:9/simple\n")
    request = EnvironmentRequest(python=OWN, preinstalled=(), offline=True)
    with pytest.raises(InstallFailed, match="This is an offline start"):
        build(open_with(tmp_path / "model", "tiny"), cache, local, request)


def test_a_missing_interpreter_is_told_with_those_that_are_here(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    local |= {"PYENV_ROOT": str(tmp_path), "PATH": str(tmp_path), "HOME": str(tmp_path)}
    with pytest.raises(InterpreterNotFound, match=rf"Python 3\.7 is needed.*--python X\.Y(?s:.*)Python {OWN}"):
        build(open_with(tmp_path / "model"), cache, local, EnvironmentRequest())


def test_a_python_that_cannot_be_downloaded_is_told_with_the_reason(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    local["UV_PYTHON_DOWNLOADS"] = "never"
    lines: list[str] = []
    with pytest.raises(InterpreterNotFound, match="Downloading it failed"):
        build(open_with(tmp_path / "model"), cache, local, EnvironmentRequest(python="3.8.1"), lines.append)
    assert lines[0] == "No Python 3.8.1 is here; trying to download one."
    offline = EnvironmentRequest(python="3.8.1", offline=True)
    with pytest.raises(InterpreterNotFound, match="and this machine has none"):
        build(open_with(tmp_path / "model"), cache, local, offline)


def test_a_cache_that_cannot_be_made_is_a_clear_error(tmp_path: Path, local: dict[str, str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentBuildError, match="cannot be used"):
        build(open_with(tmp_path / "model"), tmp_path / "file", local)


# Environments that are not ours


def test_current_is_the_server_s_own_interpreter_with_its_packages_hidden(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    environment = build(open_with(tmp_path / "model"), cache, local, EnvironmentRequest(mode="current"))
    assert environment.python == Path(sys.executable)
    assert environment.runtime is None
    assert [sorted(path.name for path in folder.glob("*loader")) for folder in environment.hidden] == [["model_loader"]]
    assert "pytest" in dict(environment.packages)


@pytest.mark.parametrize("inside", ["", "bin/python"])
def test_a_venv_of_the_operator_s_is_used_and_not_changed(
    tmp_path: Path, cache: Path, local: dict[str, str], inside: str
) -> None:
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    made = build(open_with(tmp_path / "model", "tiny"), cache, local)
    venv = made.python.parents[1]
    given = build(open_with(tmp_path / "model", "other"), cache, local, EnvironmentRequest(mode=venv / inside))
    assert (given.python, given.version, given.packages) == (made.python, made.version, (("tiny", "1.0"),))
    assert given.hidden == ()
    assert given.runtime is not None
    assert (given.runtime / "msgpack").is_dir()


def test_the_server_s_own_venv_given_by_path_has_its_packages_hidden_too(
    tmp_path: Path, cache: Path, local: dict[str, str]
) -> None:
    request = EnvironmentRequest(mode=Path(sys.executable))
    assert build(open_with(tmp_path / "model"), cache, local, request).hidden != ()


@pytest.mark.parametrize(
    ("path", "reason"),
    [("empty", "without bin/python"), ("nowhere", "no Python interpreter at"), ("text", "does not run")],
)
def test_a_path_that_is_no_environment_is_refused_with_the_reason(
    tmp_path: Path, cache: Path, local: dict[str, str], path: str, reason: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no program")
    request = EnvironmentRequest(mode=tmp_path / path)
    with pytest.raises(InterpreterNotFound, match=reason):
        build(open_with(tmp_path / "model"), cache, local, request)


def test_the_record_tells_what_was_installed(tmp_path: Path, cache: Path, local: dict[str, str]) -> None:
    write_wheel(tmp_path / "wheels", "tiny", "1.0")
    environment = build(open_with(tmp_path / "model", "tiny"), cache, local)
    record = json.loads((environment.python.parents[3] / "record.json").read_text())
    assert record["notes"]["packages"] == [["tiny", "1.0"]]
    assert record["notes"]["package"] == "model"
