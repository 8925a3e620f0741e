"""`tools/setup.sh` on machines that lack something: a clear sentence, or it installs that itself."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "setup.sh"
PYTHON = """#!/bin/sh
# A Python {version} that has the venv module once the file beside it is there.
case "$2" in
    *ensurepip*) test -e "{folder}/venv-module" ;;
    *version_info*print*|*print*) echo python{version}-venv ;;
    *version_info*) test {version_code} -ge 311 ;;
    *) echo "$0 $*" >>"{folder}/calls"; exit 1 ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of commands that is the whole machine: a shell and what Debian always has."""
    (tmp_path / "bin").mkdir()
    for name in ("bash", "sh", "env", "touch"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / "bin" / name).symlink_to(found)
    return tmp_path


def add_command(machine: Path, name: str, script: str) -> None:
    command = machine / "bin" / name
    command.write_text(script)
    command.chmod(0o755)


def add_python(machine: Path, name: str, version: str) -> None:
    code = int(version.replace(".", ""))
    add_command(machine, name, PYTHON.format(version=version, version_code=code, folder=machine))


def set_up(machine: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(machine / "bin")}
    command: list[str | os.PathLike[str]] = [SCRIPT, machine / "venv"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=machine)


def test_a_machine_without_python_is_told_what_it_needs(machine: Path) -> None:
    ended = set_up(machine)
    assert ended.returncode == 1
    assert "no Python 3.11 or newer found as python3.11 or python3" in ended.stderr


def test_an_old_python_is_not_taken(machine: Path) -> None:
    add_python(machine, "python3", "3.9")
    ended = set_up(machine)
    assert ended.returncode == 1
    assert "no Python 3.11 or newer" in ended.stderr


def test_a_newer_python3_is_taken_where_there_is_no_python3_11(machine: Path) -> None:
    add_python(machine, "python3", "3.12")
    (machine / "venv-module").touch()
    set_up(machine)
    assert f"python3 -m venv --clear {machine / 'venv'}" in (machine / "calls").read_text()


def test_somebody_who_is_not_root_is_told_the_package(machine: Path) -> None:
    add_python(machine, "python3.11", "3.11")
    add_command(machine, "id", "#!/bin/sh\necho 1000\n")
    ended = set_up(machine)
    assert ended.returncode == 1
    assert "sudo apt-get install python3.11-venv" in ended.stderr


def test_root_on_debian_gets_the_package_installed(machine: Path) -> None:
    add_python(machine, "python3.11", "3.11")
    add_command(machine, "id", "#!/bin/sh\necho 0\n")
    installs = f'#!/bin/sh\ncase "$*" in *install*python3.11-venv) touch "{machine}/venv-module" ;; esac\n'
    add_command(machine, "apt-get", installs)
    ended = set_up(machine)
    assert "installing python3.11-venv" in ended.stdout
    assert "python3.11 -m venv --clear" in (machine / "calls").read_text()


def test_an_apt_get_that_fails_is_shown(machine: Path) -> None:
    add_python(machine, "python3.11", "3.11")
    add_command(machine, "id", "#!/bin/sh\necho 0\n")
    add_command(machine, "apt-get", "#!/bin/sh\necho 'E: no network' >&2\nexit 100\n")
    ended = set_up(machine)
    assert ended.returncode == 1
    assert "E: no network" in ended.stderr
    assert "apt-get could not install python3.11-venv" in ended.stderr


def test_curl_is_wished_for_and_not_needed(machine: Path) -> None:
    add_python(machine, "python3.11", "3.11")
    (machine / "venv-module").touch()
    add_command(machine, "id", "#!/bin/sh\necho 0\n")
    add_command(machine, "apt-get", f'#!/bin/sh\necho "$*" >>"{machine}/installed"\nexit 100\n')
    ended = set_up(machine)
    assert "curl is missing" in ended.stdout
    assert "update" in (machine / "installed").read_text()
    assert "python3.11 -m venv --clear" in (machine / "calls").read_text()
