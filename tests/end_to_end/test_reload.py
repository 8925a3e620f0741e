"""`serve --reload`: what an author sees who edits a package while it is served."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Serve = Callable[..., Any]
OPTIONS = ("--environment", "current", "--reload")
IMAGE = {"files": ("a.png", b"\x89PNG\r\n\x1a\n", "image/png")}
JSON = {"accept": "application/json"}


def code(note: str) -> str:
    output = {"type": "NONE", "study_uid": "1.2", "note": note}
    return f"class MDAIModel:\n    def predict(self, data):\n        return [{output}]\n"


def notes(service: Any) -> Any:
    return service.post(files=IMAGE, headers=JSON).json()[0]["note"]


def test_an_edit_is_served_an_error_is_shown_and_its_correction_is_tried_at_once(
    serve: Serve, package: Callable[..., Path]
) -> None:
    folder = package(code("one"))
    deploy = folder / ".mdai/mdai_deploy.py"
    service = serve(folder, *OPTIONS, "--spare-workers", "1").wait_until_ready()
    assert notes(service) == "one"
    service.wait_for_line("is loaded as a spare")  # else it is what reads the error first
    home = service.cache / "homes"
    homes = os.listdir(home)  # noqa: PTH208

    deploy.write_text("class MDAIModel\n")
    service.wait_for_line("changed: .mdai/mdai_deploy.py; the model starts anew")
    service.wait_for_line("raised SyntaxError")
    unready = service.get("/ready")
    assert unready.status_code == 503
    assert "SyntaxError" in unready.text

    deploy.write_text(code("two"))
    service.lines.clear()
    service.wait_for_line(r"worker \d+ is ready")
    assert notes(service) == "two"

    (folder / ".mdai/config.yaml").write_text("base_image: [\n")
    service.wait_for_line("This is tried again")
    assert "config.yaml" in service.get("/ready").text
    service.lines.clear()
    (folder / ".mdai/config.yaml").write_text("base_image: py311\nenv:\n  COLOUR: red\n")
    service.wait_until_ready()
    facts = service.get("/info").json()
    assert facts["model"]["config"]["env"] == ["COLOUR"], "it tells of the package as it is now"
    assert facts["restarts_by_cause"]["reload"] >= 2
    assert facts["restarts_by_cause"]["failed_start"] >= 1
    assert os.listdir(home) == homes, "an edit does not take away what the model has downloaded"  # noqa: PTH208
    assert service.stop() == 0
    assert not list(service.temp.iterdir())


def test_an_archive_that_is_replaced_is_served_and_old_ones_are_deleted(
    serve: Serve, package: Callable[..., Path], tmp_path: Path
) -> None:
    folder = package(code("0"))
    archive = tmp_path / "model.zip"

    def pack(note: str) -> None:
        (folder / ".mdai/mdai_deploy.py").write_text(code(note))
        shutil.make_archive(str(tmp_path / "next"), "zip", folder)
        (tmp_path / "next.zip").replace(archive)

    pack("0")
    assert zipfile.is_zipfile(archive)
    service = serve(archive, *OPTIONS).wait_until_ready()
    for number in range(1, 4):
        service.lines.clear()
        pack(str(number))
        service.wait_until_ready()
        assert notes(service) == str(number)
    (run,) = service.temp.glob("mdai-model-*/package")
    assert len(list(run.iterdir())) == 2
    assert service.stop() == 0
    assert not list(service.temp.iterdir())
