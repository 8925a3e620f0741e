"""A platform export from outside: one file in, predictions with its label classes out."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.end_to_end.conftest import COMMAND
from tests.exports import REQUESTED, export_files, zipped

# Tells which version it is and what it got, and gives the classes that it got back as they are.
TELLING = """
class MDAIModel:
    def predict(self, data):
        uids = {{"study_uid": "1.2", "series_uid": "1.2.3", "instance_uid": "1.2.3.4"}}
        return [{{"type": "NONE", **uids, "note": "version {0}", "seen": data["label_classes"]}},
                {{"type": "ANNOTATION", **uids, "class_index": 9}}]
"""
FILES = [{"content": b"x", "content_type": "application/dicom"}]
MSGPACK = {"Content-Type": "application/msgpack"}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An archive of an export of the versions 1, 2 and 3."""
    config = "base_image: py311\n"
    versions = {
        n: {"model/.mdai/mdai_deploy.py": TELLING.format(n), "model/.mdai/config.yaml": config} for n in (1, 2, 3)
    }
    path = tmp_path / "export.zip"
    path.write_bytes(zipped(export_files("lungs/", versions)))
    return path


def ask(service: Any, **more: Any) -> tuple[dict[str, Any], str]:
    answer = service.post(content=msgpack.packb({"files": FILES, **more}), headers=MSGPACK)
    assert answer.status_code == 200, answer.text
    return msgpack.unpackb(answer.content)[0], answer.headers["x-model-warnings"]


def test_an_export_is_served_with_its_label_classes_as_defaults(serve: Callable[..., Any], export: Path) -> None:
    service = serve(export, "--environment", "current")
    service.wait_for_line(
        "serving version 3 of export Lung finder \\(versions 1, 2, 3; scope SERIES; 2 label classes\\)$"
    )
    service.wait_until_ready()
    output, warnings = ask(service)
    assert (output["note"], output["seen"]) == ("version 3", list(REQUESTED))
    assert "class_index is not among the label classes, 0, 1" in warnings
    model = service.get("/info").json()["model"]
    assert (model["name"], model["export"]["version"], model["export"]["scope"]) == ("Lung finder v3", 3, "SERIES")
    assert [one["name"] for one in model["export"]["label_classes"]] == ["Nodules", "Right lung"]
    assert service.stop() == 0
    assert list(service.temp.iterdir()) == []


def test_a_request_with_label_classes_of_its_own_reaches_the_model_byte_for_byte(
    serve: Callable[..., Any], export: Path
) -> None:
    service = serve(export, "--environment", "current", "--model-version", "2").wait_until_ready()
    own = [{"class_index": 9, "label": {"name": "Mine", "scope": None, "more": [1.5, b"x"]}, "odd": {}}]
    answer = service.post(content=msgpack.packb({"files": FILES, "label_classes": own}), headers=MSGPACK)
    first, _second = msgpack.unpackb(answer.content)
    assert first["note"] == "version 2"
    assert msgpack.packb(own) in answer.content
    assert "x-model-warnings" not in answer.headers or "among" not in answer.headers["x-model-warnings"]
    empty, warnings = ask(service, label_classes=[])
    assert empty["seen"] == [] and "among" not in warnings


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--model-version", "4"], "--model-version is 4, but {} holds the versions 1, 2, 3."),
        (["--model-version", "x"], "--model-version: 'x' is not a version of an export"),
        (["--model-root", "bones"], "--model-root is 'bones', but lungs/source/v3.zip in {} has no bones/.mdai/"),
    ],
)
def test_what_is_not_in_the_export_ends_the_start_with_2_and_a_sentence(
    export: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MDAI_MODEL_")}
    command = [COMMAND, "serve", export, "--environment", "current", "--port", "0", *options]
    ended = subprocess.run(command, env=environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"mdai-model: {reason.format(export)}")
    assert not list(tmp_path.glob("mdai-model-*"))


def test_the_environment_of_a_version_is_shown(export: Path, tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MDAI_MODEL_")}
    command = [COMMAND, "env", export, "--environment", "current", "--model-version", "1", "--cache-dir", tmp_path]
    shown = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert (shown.returncode, shown.stdout.splitlines()[0][:16]) == (0, "Lung finder v1: "), shown.stderr
