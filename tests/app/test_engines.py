"""Which engine builds an image; small programs stand in for them on PATH."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.build_secrets import BuildSecrets
from app.engines import ENGINES, NoEngine, build_command, find_engine, run_engine

Machine = Callable[..., dict[str, str]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with these engines: a name, and the exit code of each of its commands."""

    def make(**engines: int) -> dict[str, str]:
        for name, code in engines.items():
            (tmp_path / name).write_text(f"#!/bin/sh\necho cannot connect >&2\nexit {code}\n")
            (tmp_path / name).chmod(0o755)
        return {"PATH": str(tmp_path)}

    return make


def test_the_first_engine_that_is_here_builds(machine: Machine) -> None:
    assert find_engine(None, machine(buildah=0)) == "buildah"
    assert find_engine(None, machine(podman=0)) == "podman"
    assert find_engine(None, machine(docker=0)) == "docker"
    assert find_engine("buildah", machine()) == "buildah"


def test_a_client_without_its_daemon_is_passed_over(machine: Machine) -> None:
    assert find_engine(None, machine(docker=1, podman=0)) == "podman"
    with pytest.raises(NoEngine, match=r"docker does not work \(cannot connect\)\. Install one"):
        find_engine("docker", machine())


def test_without_any_the_sentence_says_so_and_what_to_do(machine: Machine) -> None:
    with pytest.raises(NoEngine, match=r"docker is not on PATH; podman is not on PATH; buildah is .*--context DIR"):
        find_engine(None, machine())


def test_an_engine_that_nobody_knows_is_refused(machine: Machine) -> None:
    with pytest.raises(NoEngine, match="'kaniko' is not one of docker, podman, buildah"):
        find_engine("kaniko", machine())


@pytest.mark.parametrize("engine", ENGINES)
def test_secrets_options_and_the_context_are_handed_on(engine: str, tmp_path: Path) -> None:
    secrets = BuildSecrets({"pip": tmp_path / "pip.conf"}, (Path("/wheels"),))
    command, unseen = build_command(engine, tmp_path, "x:1", secrets, ["--network", "host"])
    assert command[:2] == [engine, "build"]
    assert command[-3:] == ["--network", "host", str(tmp_path)]
    assert " ".join(command).count(f"--tag x:1 --secret id=pip,src={tmp_path}/pip.conf") == 1
    assert ("--volume /wheels:/wheels:ro" in " ".join(command)) is (engine != "docker")
    assert unseen == ([Path("/wheels")] if engine == "docker" else [])


def test_an_old_docker_is_told_to_know_secrets(tmp_path: Path) -> None:
    program = tmp_path / "engine"
    program.write_text('#!/bin/sh\nexit "${DOCKER_BUILDKIT:-7}"\n')
    program.chmod(0o755)
    assert run_engine([str(program)], dict(os.environ) | {"DOCKER_BUILDKIT": "0"}) == 0
    assert run_engine([str(program)], {"PATH": os.environ["PATH"]}) == 1
