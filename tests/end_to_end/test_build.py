"""`mdai-model build` from outside; a program stands in for the engine. `make test-image` has a real one build."""

import hashlib
import json
import os
import re
import signal
import subprocess
import zipfile
from pathlib import Path

import psutil
import pytest

from tests.building import open_with
from tests.end_to_end.conftest import COMMAND
from tests.exports import DESCRIPTION, PACKAGE, zipped

ENGINE = """#!/bin/sh
[ "$1" = version ] && exit 0
for word; do printf '%s\\n' "$word"; context=$word; done > "$RECORD/arguments"
cp -r "$context" "$RECORD/context"
exit ${CODE:-0}
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return open_with(tmp_path / "model", "tiny\n").root


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """With one engine, called podman, and a pip without a configuration but the system's."""
    for name in ("bin", "tmp", "record"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin/podman").write_text(ENGINE)
    (tmp_path / "bin/podman").chmod(0o755)
    (tmp_path / "bin/sh").symlink_to("/bin/sh")
    (tmp_path / "bin/cp").symlink_to("/bin/cp")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MDAI_", "PIP_"))}
    places = {"PATH": f"{tmp_path}/bin", "TMPDIR": f"{tmp_path}/tmp", "RECORD": f"{tmp_path}/record"}
    return kept | places | {"PIP_CONFIG_FILE": os.devnull}


def build(machine: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, "build", *map(str, arguments)], env=machine, capture_output=True, text=True)


def test_an_engine_is_given_a_context_and_a_name_and_nothing_is_left(
    tmp_path: Path, machine: dict[str, str], package: Path
) -> None:
    built = build(machine, package, "-t", "hospital/model:1", "--", "--network", "host")
    assert (built.returncode, built.stdout) == (0, "")
    assert built.stderr.endswith("hospital/model:1 is built, with podman.\n")
    arguments = (tmp_path / "record/arguments").read_text().splitlines()
    assert arguments[0] == "build" and arguments[-3:-1] == ["--network", "host"]
    assert arguments[arguments.index("--tag") + 1] == "hospital/model:1"
    assert sorted(path.name for path in (tmp_path / "record/context").iterdir()) == [
        "Dockerfile",
        "environment",
        "package",
    ]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_export_keeps_what_it_says_of_the_model(tmp_path: Path, machine: dict[str, str]) -> None:
    archive = zipped({"model.json": json.dumps(DESCRIPTION), "source/v4.zip": zipped(PACKAGE)})
    (tmp_path / "export.zip").write_bytes(archive)
    built = build(machine, tmp_path / "export.zip", "-t", "model")
    assert built.returncode == 0, built.stderr
    said = json.loads((tmp_path / "record/context/export/model.json").read_bytes())["model"]
    assert {one["classIndex"] for one in said["labelClasses"]} == {0, 1}
    lines = (tmp_path / "record/context/Dockerfile").read_text().splitlines()
    assert {"COPY package /model/source/v4", "COPY export /model"} <= set(lines)


def test_labels_name_the_package_and_its_lock(tmp_path: Path, machine: dict[str, str], package: Path) -> None:
    (package / ".mdai/requirements.lock").write_text("# a lock\n")
    (package / ".mdai/config.yaml").write_text("base_image: py311\ndevice_type: gpu\ncuda_version: 11.8\n")
    built = build(machine, package, "-t", "model")
    assert "carries no lock" not in built.stderr
    assert "should be one over nvidia/cuda:11.8.0-cudnn8-runtime-ubuntu22.04" in built.stderr
    text = (tmp_path / "record/context/Dockerfile").read_text()
    labels = dict(line.strip(" \\").split("=", 1) for line in text[text.index("LABEL ") + 6 :].splitlines())
    package_digest = labels["mdai-model.package.digest"].strip('"')
    assert len(package_digest) == 64
    assert labels["mdai-model.lock.sha256"].strip('"') == hashlib.sha256(b"# a lock\n").hexdigest()
    assert labels["mdai-model.package.name"] == labels["org.opencontainers.image.title"] == '"model"'
    assert text.splitlines()[6] == "ARG SERVER_IMAGE=mdai-model-server:gpu"


def test_the_dockerfile_is_shown_without_an_engine_and_without_a_name(
    tmp_path: Path, machine: dict[str, str], package: Path
) -> None:
    (tmp_path / "bin/podman").unlink()
    shown = build(machine, package, "--print", "--from", "server:2", "--exclude-newer", "2023-01-31")
    assert shown.returncode == 0 and shown.stdout.startswith("# Written by")
    assert "ARG SERVER_IMAGE=server:2\n" in shown.stdout
    assert "FROM ${PYTHON_IMAGE} AS python" in shown.stdout, "base_image is py37"
    assert "--exclude-newer 2023-01-31 " in shown.stdout
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_context_is_written_for_an_engine_elsewhere(tmp_path: Path, machine: dict[str, str], package: Path) -> None:
    (tmp_path / "bin/podman").unlink()
    written = build(machine, package, "--context", tmp_path / "here/there")
    assert written.returncode == 0 and f"docker build -t NAME {tmp_path}/here/there" in written.stderr
    assert (tmp_path / "here/there/environment/.mdai/requirements.txt").read_text() == "tiny\n"
    shown = build(machine, package, "--print").stdout
    assert (tmp_path / "here/there/Dockerfile").read_text() == shown
    again = build(machine, package, "--context", tmp_path / "here/there")
    assert again.returncode == 2 and "is there already and not an empty folder" in again.stderr
    inside = build(machine, package, "--context", package / "image")
    assert inside.returncode == 2 and "lies in the package itself" in inside.stderr


def test_an_engine_that_fails_is_1_and_a_sentence(machine: dict[str, str], package: Path) -> None:
    failed = build(machine | {"CODE": "125"}, package, "-t", "model")
    assert failed.returncode == 1
    assert "podman could not build the image (exit code 125)" in failed.stderr
    assert "docker build -f Dockerfile.cpu -t mdai-model-server:cpu ." in failed.stderr
    assert "--from." not in build(machine | {"CODE": "1"}, package, "-t", "model", "--from", "own").stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("{package}",), "what shall the image be called?"),
        (("{package}", "more", "-t", "x"), "'more' is one argument too many"),
        (("{package}", "-t", "x y"), "'x y' cannot be an image's name"),
        (("{package}", "-t", "x", "--from", "a\nRUN b"), "cannot be an image's name"),
        (("{package}", "-t", "x", "--engine", "docker"), "no engine here can build an image: docker is not on PATH"),
        (("{package}", "-t", "x", "--python", "3.6"), "Python 3.6 is too old"),
        (("nowhere.zip", "-t", "x"), "nowhere.zip cannot be opened"),
    ],
)
def test_what_makes_no_sense_ends_with_2_and_a_sentence(
    machine: dict[str, str], package: Path, arguments: tuple[str, ...], reason: str
) -> None:
    ended = build(machine, *(argument.format(package=package) for argument in arguments))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "mdai-model: " in ended.stderr and reason in ended.stderr


def test_what_requirements_name_elsewhere_ends_with_2(tmp_path: Path, machine: dict[str, str]) -> None:
    (tmp_path / "shared.txt").write_text("tiny\n")
    package = open_with(tmp_path / "model", "-r ../../shared.txt\n").root
    ended = build(machine, package, "--print")
    assert (ended.returncode, ended.stdout) == (2, "") and f"{tmp_path}/shared.txt, which lies outside" in ended.stderr


def test_what_stops_the_command_stops_the_engine_and_leaves_nothing(
    tmp_path: Path, machine: dict[str, str], package: Path
) -> None:
    (tmp_path / "bin/podman").write_text(
        '#!/bin/sh\n[ "$1" = version ] && exit 0\necho $$ > "$RECORD/pid"\nexec /usr/bin/tail -f /dev/null\n'
    )
    os.mkfifo(tmp_path / "record/pid")
    with subprocess.Popen([COMMAND, "build", package, "-t", "x"], env=machine, stderr=subprocess.PIPE) as process:
        engine = int((tmp_path / "record/pid").read_text())  # comes when the engine has begun
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(engine)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_archive_is_baked_in_as_its_folder_would_be(tmp_path: Path, machine: dict[str, str], package: Path) -> None:
    with zipfile.ZipFile(tmp_path / 'the "model".zip', "w") as archive:
        for path in sorted(package.rglob("*")):
            archive.write(path, Path("deep") / path.relative_to(package))
    from_folder, from_archive = (
        build(machine, source, "--print", "--python", "3.11").stdout
        for source in (package, tmp_path / 'the "model".zip')
    )
    assert 'mdai-model.package.name="the \\"model\\""' in from_archive
    digest = re.compile(r'digest="(\w{64})"')
    assert digest.findall(from_folder) == digest.findall(from_archive) != []
