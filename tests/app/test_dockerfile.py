"""The Dockerfile that `mdai-model build` writes; `make test-image` builds and runs one."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.dockerfile import ImageRecipe, dockerfile

HADOLINT = Path(sys.executable).with_name("hadolint")
PLAIN = ImageRecipe("mdai-model-server:cpu", "3.11", labels={"org.opencontainers.image.title": "model"})
EVERYTHING = ImageRecipe(
    server_image="registry:5000/hospital/server:1.2",
    series="3.7",
    python_image="python:3.7-slim",
    environment_options=["--python", "3.7", "--exclude-newer", "2023-01-31T12:00:00Z"],
    has_large=True,
    labels={"mdai-model.package.name": 'a "model" of $HOME \\ more', "org.opencontainers.image.version": "0123"},
)


def instructions(recipe: ImageRecipe) -> list[str]:
    text = re.sub(r"^#.*\n", "", dockerfile(recipe), flags=re.MULTILINE)
    return [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line]


def stages(recipe: ImageRecipe) -> list[list[str]]:
    found: list[list[str]] = []
    for line in instructions(recipe):
        if line.startswith("FROM "):
            found.append([])
        if found:
            found[-1].append(line)
    return found


@pytest.mark.parametrize("recipe", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_hadolint_finds_nothing(recipe: ImageRecipe) -> None:
    if not HADOLINT.exists():
        pytest.skip("hadolint is not installed: its wheels are for Linux on common processors")
    linted = subprocess.run([HADOLINT, "--no-color", "-"], input=dockerfile(recipe), capture_output=True, text=True)
    assert linted.stdout + linted.stderr == "" and linted.returncode == 0


def test_what_changes_more_often_comes_later_and_nothing_runs_after_code_is_copied() -> None:
    final = stages(EVERYTHING)[-1]
    copied = [line for line in final if line.startswith("COPY")]
    assert copied == ["COPY --from=environment /opt/model /opt/model", "COPY large /model", "COPY package /model"]
    assert not [line for line in final if line.startswith(("RUN", "USER"))]
    assert [line.split()[0] for line in final[-2:]] == ["COPY", "LABEL"]


def test_an_export_stays_an_export() -> None:
    """Of the version that is baked in, so that its label classes are there for requests without."""
    final = stages(replace(EVERYTHING, version=3))[-1]
    assert [line for line in final if line.startswith("COPY")][1:] == [
        "COPY large /model/source/v3",
        "COPY package /model/source/v3",
        "COPY export /model",
    ]


def test_the_environment_is_made_without_the_models_code() -> None:
    environment = next(stage for stage in stages(EVERYTHING) if stage[0].endswith("AS environment"))
    copied = [line for line in environment if line.startswith("COPY")]
    assert copied == ["COPY --from=python /usr/local /opt/model/python3.7", "COPY environment /model"]
    assert (
        "env /model --cache-dir /opt/model/cache --python 3.7 --exclude-newer 2023-01-31T12:00:00Z" in environment[-1]
    )


def test_secrets_reach_one_step_of_a_stage_that_is_not_the_image() -> None:
    using = [(number, line) for number, stage in enumerate(stages(PLAIN)) for line in stage if "secret" in line]
    assert len(using) == 1 and using[0][0] == 0
    assert "id=pip,target=/etc/pip.conf" in using[0][1] and "id=certificates," in using[0][1]


def test_only_a_python_that_is_asked_for_is_taken_from_an_image() -> None:
    assert [stage[0] for stage in stages(PLAIN)] == ["FROM ${SERVER_IMAGE} AS environment", "FROM ${SERVER_IMAGE}"]
    assert stages(EVERYTHING)[0] == ["FROM ${PYTHON_IMAGE} AS python"]
    assert instructions(EVERYTHING)[:2] == [
        "ARG SERVER_IMAGE=registry:5000/hospital/server:1.2",
        "ARG PYTHON_IMAGE=python:3.7-slim",
    ]


def test_an_odd_name_is_a_label_and_not_an_instruction() -> None:
    [label] = [line for line in instructions(EVERYTHING) if line.startswith("LABEL")]
    assert r'mdai-model.package.name="a \"model\" of \$HOME \\ more"' in label
    torn = replace(PLAIN, labels={"mdai-model.package.name": "one\nRUN rm -rf /"})
    assert dockerfile(torn).rstrip().endswith('="one RUN rm -rf /"')


def test_an_odd_word_reaches_the_command_as_it_is() -> None:
    recipe = replace(PLAIN, environment_options=["--python", "3.11; rm -rf /"])
    assert "--python '3.11; rm -rf /' &&" in " ".join(instructions(recipe))
