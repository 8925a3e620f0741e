"""Files loaded ahead of their requests, from outside."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import msgpack

from tests.hosting import await_true

Serve = Callable[..., Any]
Write = Callable[..., Path]

READS = """
import os
class MDAIModel:
    def predict(self, data):
        if "fifo" in data["args"]:
            with open(data["args"]["fifo"]) as fifo:
                fifo.read()
        notes = []
        for file in data["files"]:
            assert os.path.isabs(file["content_path"]) and file["content"] is None
            with open(file["content_path"]) as loaded:
                notes.append(loaded.read())
            with open(data["args"].get("journal", os.devnull), "a") as journal:
                journal.write(notes[-1])
        return [{"type": "NONE", "study_uid": "1.2", "note": " ".join(notes)}]
"""
MSGPACK = {"Content-Type": "application/msgpack"}


def load(service: Any, files: dict[str, bytes]) -> Any:
    body = msgpack.packb([{"content": content, "content_path": path} for path, content in files.items()])
    return httpx.post(service.url + "/load-files", content=body, headers=MSGPACK, timeout=30)


def naming(*paths: str) -> list[dict[str, Any]]:
    return [{"content": None, "content_path": path, "content_type": "application/dicom"} for path in paths]


def predict(service: Any, files: Any, **args: str) -> Any:
    body = msgpack.packb({"files": files, "args": args})
    return httpx.post(service.url + "/predict", content=body, headers=MSGPACK, timeout=30)


def left_in(folder: Path) -> list[str]:
    """The names of the files that were loaded and are there; a folder may be deleted meanwhile."""
    loaded = folder.glob("mdai-model-*/loaded")
    return sorted(name for top in loaded for _, _, files in os.walk(top) for name in files)


def test_a_batch_is_loaded_predicted_by_path_and_gone(serve: Serve, package: Write) -> None:
    options = ("--environment", "current", "--load-files-quota", "100")
    service = serve(package(READS), *options).wait_until_ready()
    assert load(service, {"1/a": b"A", "1/b": b"B" * 90, "c": b"C"}).status_code == 200
    assert load(service, {"d": b"D" * 9}).status_code == 503
    answer = predict(service, [naming("1/a", "1/b"), naming("c")])
    assert answer.status_code == 200, answer.text
    assert [output["note"] for output in msgpack.unpackb(answer.content)] == ["A " + "B" * 90, "C"]
    await_true(lambda: not left_in(service.temp), "the files are gone")
    assert load(service, {"d": b"D" * 100}).status_code == 200
    assert predict(service, naming("1/a")).status_code == 422
    assert predict(service, naming("../../lock")).status_code == 422
    assert "api_version" in service.get("/info").text
    assert service.get("/version").text == "0.4"
    assert service.stop() == 0
    assert list(service.temp.iterdir()) == []


def test_files_stay_while_the_model_runs_for_a_client_that_left(serve: Serve, package: Write, tmp_path: Path) -> None:
    service = serve(package(READS), "--environment", "current").wait_until_ready()
    journal, fifo = tmp_path / "journal", tmp_path / "fifo"
    os.mkfifo(fifo)
    load(service, {"a": b"A"})
    body = msgpack.packb({"files": naming("a"), "args": {"fifo": str(fifo), "journal": str(journal)}})
    head = "POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/msgpack\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 30) as client:
        client.sendall(head.encode() + body)
        writing = fifo.open("w")  # which waits until the model reads
    with writing:
        service.wait_for_line("POST /predict 499")
        assert left_in(service.temp) == ["a"]
    await_true(lambda: journal.exists() and journal.read_text() == "A", "the model has read the file")
    await_true(lambda: not left_in(service.temp), "the files are gone")


def test_files_of_a_server_that_was_killed_are_gone_with_the_next_start(serve: Serve, package: Write) -> None:
    source = package(READS)
    killed = serve(source, "--environment", "current").wait_until_ready()
    load(killed, {"a": b"A"})
    killed.stop(signal.SIGKILL)
    assert left_in(killed.temp) == ["file-0"]
    serve(source, "--environment", "current").wait_until_ready()
    assert left_in(killed.temp) == []


def test_what_no_request_uses_is_deleted_in_time(serve: Serve, package: Write) -> None:
    service = serve(package(READS), "--environment", "current", "--load-files-age", "100ms").wait_until_ready()
    assert load(service, {"a": b"A"}).status_code == 200
    await_true(lambda: not left_in(service.temp), "the files are gone")
