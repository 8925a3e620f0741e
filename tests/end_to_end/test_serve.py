"""`mdai-model serve` from outside."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest

Serve = Callable[..., Any]
Write = Callable[..., Path]

ECHO = """
import os
class MDAIModel:
    def predict(self, data):
        file = data["files"][0]
        return [{"type": "NONE", "study_uid": "1.2", "note": f"{len(file['content'])} bytes of {file['content_type']}"}]
"""
# Says that it runs by opening one fifo, and answers once somebody has opened the other.
WAITING = """
class MDAIModel:
    def predict(self, data):
        with open(data["args"]["began"], "w"):
            pass
        with open(data["args"]["go"]):
            pass
        return [{"type": "NONE", "study_uid": "1.2", "note": data["args"]["name"]}]
"""
# Says that it runs by making a file, and answers once somebody has written to the fifo of its name.
MEETING = """
import os
class MDAIModel:
    def predict(self, data):
        place = os.path.join(data["args"]["folder"], data["args"]["name"])
        open(place + ".begun", "w").close()
        open(place).read()
        return [{"type": "NONE", "study_uid": "1.2", "note": data["args"]["name"]}]
"""
REQUEST = {"files": [{"content": b"x" * 10, "content_type": "application/dicom"}]}
MSGPACK = {"Content-Type": "application/msgpack"}


def post_msgpack(service: Any, request: object = REQUEST) -> Any:
    return service.post(content=msgpack.packb(request), headers=MSGPACK)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_the_curl_line_of_the_readme_is_a_smoke_test(serve: Serve, package: Write, tmp_path: Path) -> None:
    service = serve(package(ECHO), "--environment", "current").wait_until_ready()
    dicom = tmp_path / "chest.dcm"
    dicom.write_bytes(bytes(128) + b"DICM")
    answer = subprocess.run(
        ["curl", "-sS", "-F", f"files=@{dicom}", "-H", "Accept: application/json", f"{service.url}/predict"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == '[{"type":"NONE","study_uid":"1.2","note":"132 bytes of application/dicom"}]'


def test_the_answer_is_byte_for_byte_what_the_model_returned(serve: Serve, package: Write) -> None:
    outputs = [
        {
            "type": "ANNOTATION",
            "study_uid": "1.2",
            "class_index": 0,
            "data": {"mask": [[0, 1, 255], [2, 3.5, 70000]]},
            "probability": [{"class_index": 0, "probability": 0.25}],
            "explanations": [{"name": "a", "content": bytes(range(256)) * 3, "content_type": "image/png"}],
        }
    ]
    service = serve(
        package(f"class MDAIModel:\n    def predict(self, data):\n        return {outputs!r}\n"),
        "--environment",
        "current",
    ).wait_until_ready()
    for path in ("/predict", "/inference"):
        answer = service.post(content=msgpack.packb(REQUEST), headers=MSGPACK)
        assert (answer.status_code, answer.content) == (200, msgpack.packb(outputs)), path
        assert answer.headers["content-type"] == "application/msgpack"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_nothing_left_behind(serve: Serve, package: Write, number: int) -> None:
    service = serve(package(ECHO), "--environment", "current").wait_until_ready()
    workers = service.workers()
    assert workers
    assert service.stop(number) == 0
    assert not any(worker.is_running() for worker in workers)
    assert list(service.temp.iterdir()) == []


def test_what_runs_is_finished_and_what_is_new_refused_on_sigterm(serve: Serve, package: Write, tmp_path: Path) -> None:
    service = serve(package(WAITING), "--environment", "current").wait_until_ready()
    began, go = tmp_path / "began", tmp_path / "go"
    os.mkfifo(began)
    os.mkfifo(go)
    args = {"began": str(began), "go": str(go), "name": "finished"}
    with ThreadPoolExecutor() as pool:
        running = pool.submit(post_msgpack, service, REQUEST | {"args": args})
        began.open().close()
        service.process.send_signal(signal.SIGTERM)
        _wait_until_refused(service.url)
        go.open("w").close()
        answer = running.result()
    assert (answer.status_code, msgpack.unpackb(answer.content)[0]["note"]) == (200, "finished")
    assert service.ended() == 0


@pytest.mark.parametrize("signals", [1, 2])
def test_what_outlasts_the_grace_is_answered_in_words(
    serve: Serve, package: Write, tmp_path: Path, signals: int
) -> None:
    """A second signal cuts the grace short."""
    grace = "1s" if signals == 1 else "10m"
    service = serve(package(MEETING), "--environment", "current", "--grace", grace).wait_until_ready()
    for name in ("runs", "waits"):
        os.mkfifo(tmp_path / name)
    with ThreadPoolExecutor() as pool:
        requests = [
            pool.submit(post_msgpack, service, REQUEST | {"args": {"folder": str(tmp_path), "name": name}})
            for name in ("runs", "waits")
        ]
        _once(lambda: list(tmp_path.glob("*.begun")) and service.get("/info").json()["waiting"])
        for _ in range(signals):
            service.process.send_signal(signal.SIGINT)
            _wait_until_refused(service.url)
        answers = [request.result() for request in requests]
    assert {answer.status_code for answer in answers} == {503}
    assert all("shutting down" in answer.text or "told to stop" in answer.text for answer in answers)
    assert service.ended() == 0
    assert "Traceback" not in service.output


def test_a_service_without_standard_streams_stops_cleanly(package: Write, tmp_path: Path) -> None:
    from tests.end_to_end.conftest import COMMAND

    meeting, temp = tmp_path / "meeting", tmp_path / "temp"
    os.mkfifo(meeting)
    temp.mkdir()
    folder = package(f"open({str(meeting)!r}, 'w').close()\n" + ECHO)
    command = f"exec {COMMAND} serve {folder} --environment current --host 127.0.0.1 --port 0 <&- >&- 2>&-"
    with subprocess.Popen(["sh", "-c", command], env=os.environ | {"TMPDIR": str(temp)}) as service:
        meeting.read_text()
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
    assert list(temp.iterdir()) == []


def _wait_until_refused(url: str) -> None:
    import socket
    from urllib.parse import urlsplit

    address = urlsplit(url)
    while True:
        try:
            socket.create_connection((address.hostname, address.port), timeout=5).close()
        except ConnectionResetError:
            continue  # still in line when the listener closed
        except ConnectionRefusedError:
            return


def test_workers_predict_side_by_side_and_one_more_waits(serve: Serve, package: Write, tmp_path: Path) -> None:
    """`--workers 2` predicts two requests at once; a third runs when one of them is done."""
    service = serve(package(MEETING), "--environment", "current", "--workers", "2")
    service.wait_until_ready()
    service.wait_for_line(r"worker 2 is ready")
    names = {"a", "b", "c"}
    for name in names:
        os.mkfifo(tmp_path / name)

    def begun() -> set[str]:
        return {path.stem for path in tmp_path.glob("*.begun")}

    with ThreadPoolExecutor() as pool:
        answers = [
            pool.submit(post_msgpack, service, REQUEST | {"args": {"folder": str(tmp_path), "name": name}})
            for name in names
        ]
        first = _once(lambda: len(begun()) == 2 and begun())
        info = _once(lambda: service.get("/info").json()["waiting"] == 1 and service.get("/info").json())
        assert [worker["state"] for worker in info["workers"]] == ["busy", "busy"]
        assert begun() == first
        done = first.pop()
        (tmp_path / done).write_text("")
        _once(lambda: begun() == names)
        for name in names - {done}:
            (tmp_path / name).write_text("")
    assert {msgpack.unpackb(answer.result().content)[0]["note"] for answer in answers} == names


def _once(look: Callable[[], Any]) -> Any:
    """What `look` sees, as soon as that is something."""
    latest = time.monotonic() + 60
    while time.monotonic() < latest:
        if seen := look():
            return seen
    raise AssertionError("still nothing after a minute")


def test_sigkill_of_the_server_leaves_no_worker_and_the_next_start_tidies_up(serve: Serve, package: Write) -> None:
    """Nor what a worker has started."""
    children = (
        "import subprocess\n[subprocess.Popen(['sleep', '1000'], start_new_session=new) for new in (True, False)]\n"
    )
    folder = package(children + ECHO)
    service = serve(folder, "--environment", "current").wait_until_ready()
    workers = service.workers()
    assert len(workers) == 4, "the worker, its two children and the keeper"
    service.stop(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    left = set(service.temp.iterdir())
    assert left, "the killed server had no time to remove its folder"
    again = serve(folder, "--environment", "current").wait_until_ready()
    assert not left & set(again.temp.iterdir())


def test_a_model_that_fails_to_load_is_explained_while_health_stays_green(serve: Serve, package: Write) -> None:
    service = serve(package("import no_such_module\n"), "--environment", "current")
    service.wait_for_line("no_such_module")
    assert service.get("/healthz").status_code == 200
    ready = service.get("/ready")
    assert ready.status_code == 503
    assert "no_such_module" in ready.text
    answer = post_msgpack(service)
    assert answer.status_code == 503
    assert answer.text.startswith("Error initializing model: ")
    assert "requirements.txt" in answer.text
    assert int(answer.headers["Retry-After"]) > 0


def test_a_crash_costs_one_request(serve: Serve, package: Write) -> None:
    code = """
import os, signal
class MDAIModel:
    def predict(self, data):
        if data["args"].get("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return [{"type": "NONE", "study_uid": str(os.getpid())}]
"""
    service = serve(package(code), "--environment", "current").wait_until_ready()
    before = msgpack.unpackb(post_msgpack(service).content)[0]["study_uid"]
    answer = post_msgpack(service, REQUEST | {"args": {"crash": "yes"}})
    assert answer.status_code == 500
    assert answer.text.startswith("Error running model: ")
    assert "SIGSEGV" in answer.text
    service.wait_for_line(r"worker 2 is ready")
    after = msgpack.unpackb(post_msgpack(service).content)[0]["study_uid"]
    assert before != after


def test_a_predict_that_never_ends_is_killed_at_its_deadline(serve: Serve, package: Write) -> None:
    code = """
class MDAIModel:
    def predict(self, data):
        while True:
            try:
                pass
            except:
                pass
"""
    service = serve(package(code), "--environment", "current", "--predict-timeout", "1s").wait_until_ready()
    answer = post_msgpack(service)
    assert answer.status_code == 504
    assert "--predict-timeout" in answer.text
    service.wait_for_line(r"worker 2 is ready")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: folder / "missing.zip", "missing.zip"),
        (lambda folder: _file(folder / "model.zip", b"this is no archive"), "model.zip"),
        (lambda folder: _deploy(folder, config="- a\n- b\n"), "config.yaml"),
        (lambda folder: _deploy(folder, config="base_image: py27\n"), "py27"),
        (lambda folder: _file(folder / "lost" / "mdai_deploy.py", b"").parent, ".mdai"),
    ],
)
def test_what_cannot_be_served_ends_with_code_2_and_a_sentence(
    make: Callable[[Path], Path], sentence: str, tmp_path: Path
) -> None:
    from tests.end_to_end.conftest import COMMAND

    temp = tmp_path / "temp"
    temp.mkdir()
    ended = subprocess.run(
        [COMMAND, "serve", make(tmp_path / "source"), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"TMPDIR": str(temp)},
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("mdai-model: ")
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(temp.iterdir()) == []


def _file(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _deploy(folder: Path, config: str) -> Path:
    _file(folder / ".mdai" / "mdai_deploy.py", b"class MDAIModel:\n    def predict(self, data): return []\n")
    _file(folder / ".mdai" / "config.yaml", config.encode())
    return folder


def test_a_port_that_is_taken_is_said_with_the_option_that_helps(serve: Serve, package: Write) -> None:
    from tests.end_to_end.conftest import COMMAND

    folder = package(ECHO)
    service = serve(folder, "--environment", "current")
    port = service.url.rsplit(":", 1)[1]
    ended = subprocess.run(
        [COMMAND, "serve", folder, "--host", "127.0.0.1", "--port", port], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert "--port" in ended.stderr


def test_a_driver_that_takes_its_time_does_not_hold_up_the_service(
    serve: Serve, package: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, answer = tmp_path / "bin" / "nvidia-smi", tmp_path / "answer"
    driver.parent.mkdir()
    os.mkfifo(answer)
    driver.write_text(f"#!/bin/sh\ncat {answer}\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{driver.parent}:{os.environ['PATH']}")
    folder = package(ECHO, "base_image: py311\ndevice_type: gpu\n")
    service = serve(folder, "--environment", "current", "--log-level", "debug")
    assert service.get("/healthz").status_code == 200
    assert service.get("/info").json()["devices"] is None
    answer.write_text("0, GPU-1, Some GPU\n1, GPU-2, Some GPU\n")
    service.wait_for_line(r"worker \d+ is ready on gpu 1 \(Some GPU\)")
    assert service.get("/info").json()["devices"] == ["gpu 0 (Some GPU)", "gpu 1 (Some GPU)"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--environment", "nowhere"), "--environment: there is no nowhere."),
        (("--environment", "."), "holds no bin/python"),
        (("--python", "3.6"), "models run on Python 3.7 or newer"),
        (("--host", "ü" * 70), "cannot listen on"),
    ],
)
def test_an_option_that_cannot_be_met_ends_with_code_2_and_a_sentence(
    package: Write, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    from tests.end_to_end.conftest import COMMAND

    ended = subprocess.run(
        [COMMAND, "serve", package(ECHO), "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("mdai-model: ")
    assert sentence in ended.stderr
