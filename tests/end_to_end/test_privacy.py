"""What a request carries is told to its caller and, by the model, to the model's stream; nowhere else."""

import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.collector import collecting

CODE = """
import os, sys, pydicom, io
class MDAIModel:
    def predict(self, data):
        args, files = data["args"], data["files"]
        dataset = pydicom.dcmread(io.BytesIO(files[0]["content"]))
        seen = f"{dataset.PatientName} {dataset.PatientID} {dataset.StudyInstanceUID} {args}"
        print("seen", seen)
        sys.stderr.write("unfinished " + seen)
        how = args.get("how", "")
        if how == "raise":
            name = str(dataset.PatientName)
            raise ValueError(f'{name}\\n  File "{dataset.PatientID}.py", line 7, in f\\n{name}')
        if how == "chain":
            try:
                exec(compile("1/0", str(dataset.PatientName), "exec"))
            except Exception:
                raise KeyError(str(dataset.PatientName))
        if how == "die":
            sys.stderr.flush()
            os._exit(3)
        if how == "exit":
            sys.exit(str(dataset.PatientName))
        if how == "unwritable":
            return [{"type": "NONE", "study_uid": "1.2", "note": {str(dataset.PatientName): object}}]
        if how == "invalid":
            return [{"type": str(dataset.PatientName), "study_uid": 3}]
        return [{"type": "NONE", "study_uid": str(dataset.StudyInstanceUID), str(dataset.PatientID): 1,
                 "note": str(dataset.PatientName), "class_index": -5}]
"""
NAME, ID, UID, ARG, PIXELS = "CANARYNAME", "CANARYID", "1.2.826.0.1.99887766", "CANARYARG", b"CANARYPIXELS"
CANARIES = (NAME, ID, UID, ARG, "CANARY", "canary", PIXELS.hex())


def dicom() -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.PatientName, dataset.PatientID, dataset.StudyInstanceUID = NAME, ID, UID
    dataset.Rows = dataset.Columns = dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.PixelData = PIXELS
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=False)
    return file.getvalue()


def traced_by(url: str) -> dict[str, str]:
    """The variables that have spans sent there at once."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "50"}


def until_ready(service: Any) -> None:
    """Wait until a worker can predict, the first one or one that followed."""
    latest = time.monotonic() + 60
    while service.get("/ready").status_code != 200:
        assert time.monotonic() < latest, service.output


def ask_everything(service: Any) -> None:
    """Requests that succeed, that the model fails, that it dies of, and that are none."""
    request = {
        "files": [{"content": dicom(), "content_type": "application/dicom", "dicom_tags": {"PatientName": NAME}}],
        "annotations": [{"study_uid": UID, "note": NAME, "CANARYKEY": 1}],
        "label_classes": [{"class_index": 1, "label": {"name": NAME, "scope": "CANARYSCOPE"}}],
        "CANARYKEY": ARG,
    }
    for how in ("", "raise", "chain", "die", "exit", "unwritable", "invalid"):
        for accept in ("", "application/json"):
            until_ready(service)
            service.post(
                content=msgpack.packb(request | {"args": {"how": how, "patient": ARG}}),
                headers={"Content-Type": "application/msgpack", "Accept": accept, "User-Agent": NAME},
            )
    service.post(files={"files": (f"{NAME}.dcm", dicom())}, data={"patient": ARG, "CANARYFIELD": UID})
    service.post(files={"CANARYPART": (f"{NAME}.dcm", dicom(), f"image/{NAME}")}, data={"args": f"{{{ARG}"})
    broken: list[tuple[bytes, str]] = [
        (f"{NAME} {UID}".encode(), "application/msgpack"),
        (msgpack.packb(request)[:-20], "application/msgpack"),
        (msgpack.packb({"files": NAME, "args": ARG}), "application/msgpack"),
        (msgpack.packb({ARG: 1, "files": [{"content": NAME, "content_type": UID}]}), "application/msgpack"),
        (b"--b\r\n" + NAME.encode() * 20, "multipart/form-data; boundary=b"),
        (
            b"--b\r\nContent-Disposition: form-data; name=" + NAME.encode() + b"\r\nCANARY\r\n",
            "multipart/form-data; boundary=b",
        ),
        (NAME.encode(), f"text/{NAME}"),
    ]
    for body, media in broken:
        assert 400 <= service.post(content=body, headers={"Content-Type": media}).status_code < 500
    service.get(f"/predict/{UID}?patient={NAME}")
    service.get(f"/{NAME}")


@pytest.mark.parametrize("options", [(), ("--hide-tracebacks", "--strict")], ids=["", "hidden"])
def test_nothing_of_a_request_is_logged_counted_or_traced(
    serve: Callable[..., Any], package: Callable[..., Path], options: tuple[str, ...]
) -> None:
    asked = ("--environment", "current", "--log-format", "json", "--log-level", "debug", *options)
    with collecting() as collector:
        service = serve(package(CODE), *asked, environ=traced_by(collector.url))
        ask_everything(service)
        until_ready(service)
        told = {path: service.get(path) for path in ("/metrics", "/info", "/ready", "/", "/docs", "/openapi.json")}
        assert service.stop() == 0
        assert len(collector.wait_for_spans("POST /predict", 20)) >= 20
    assert [canary for canary in CANARIES if canary.encode() in collector.raw] == [], "spans"
    records = [json.loads(line) for line in service.lines]
    own = [line for line in records if line["logger"] != "model"]
    assert [line for line in own if any(canary in json.dumps(line) for canary in CANARIES)] == []
    for path, answer in told.items():
        assert answer.status_code == 200
        assert not any(canary in answer.text + str(answer.headers) for canary in CANARIES), path
    model = [line for line in records if line["logger"] == "model"]
    assert any(NAME in line["message"] for line in model), "the model may say what it likes in its own stream"
    answered = {line["request_id"] for line in own if line["message"] == "POST /predict 200"}
    assert answered <= {line["request_id"] for line in model if "unfinished" in line["message"]}
    assert 'problem="worker-died"' in told["/metrics"].text


def test_hidden_tracebacks_are_in_the_models_stream_under_the_id_of_the_answer(
    serve: Callable[..., Any], package: Callable[..., Path]
) -> None:
    service = serve(package(CODE), "--environment", "current", "--log-format", "json", "--hide-tracebacks")
    until_ready(service)
    for how in ("raise", "exit", "die"):
        request = {"files": [{"content": dicom(), "content_type": "application/dicom"}], "args": {"how": how}}
        headers = {"Content-Type": "application/msgpack", "X-Request-Id": f"asked-to-{how}"}
        answer = service.post(content=msgpack.packb(request), headers=headers)
        assert answer.status_code == 500
        assert f"under request id asked-to-{how}" in answer.text
        assert "CANARY" not in answer.text and "Traceback" not in answer.text and "mdai_deploy" not in answer.text
    assert service.stop() == 0
    errors = {line["request_id"]: line for line in map(json.loads, service.lines) if line.get("stream") == "error"}
    assert set(errors) == {"asked-to-raise", "asked-to-exit", "asked-to-die"}
    assert all(line["logger"] == "model" and NAME in line["message"] for line in errors.values())


def test_hidden_reasons_of_a_failed_start_are_in_the_log(
    serve: Callable[..., Any], package: Callable[..., Path]
) -> None:
    service = serve(package("raise ValueError('a secret')\n"), "--environment", "current", "--hide-tracebacks")
    service.wait_for_line("a secret")
    for path in ("/ready", "/info"):
        text = service.get(path).text
        assert "the reason is in the service's log" in text
        assert not re.search("secret|ValueError|Traceback", text), path
    headers = {"Content-Type": "application/msgpack"}
    answer = service.post(content=msgpack.packb({"files": []}), headers=headers)
    assert (answer.status_code, "secret" in answer.text) == (503, False)


@pytest.mark.parametrize("output", ["log", "off"])
def test_what_a_model_prints_is_the_operators_choice(
    serve: Callable[..., Any], package: Callable[..., Path], output: str
) -> None:
    service = serve(package("print('printed')\n" + CODE), "--environment", "current", "--model-output", output)
    service.wait_until_ready()
    assert service.stop() == 0
    assert ("printed" in service.output) == (output == "log")
