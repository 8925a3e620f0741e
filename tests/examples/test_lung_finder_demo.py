"""The demo of the lung finder: what it sends, accepts and draws, and that it never fails silently.

The whole demo, with the model's environment and the real service, is `make demo`.
"""

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import msgpack
import pydicom
import pytest
from PIL import Image

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "lung-finder"
UIDS = {"study_uid": "1", "series_uid": "1.2", "instance_uid": "1.2.3"}
RIGHT, LEFT = (
    {"x": 0, "y": 170, "width": 750, "height": 1500},
    {"x": 1000, "y": 200, "width": 730, "height": 1460},
)
BOXES = [
    {"type": "ANNOTATION", **UIDS, "class_index": 0, "data": RIGHT},
    {"type": "ANNOTATION", **UIDS, "class_index": 1, "data": LEFT},
]


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    """The demo, imported as a module."""
    spec = importlib.util.spec_from_file_location("lung_finder_demo", EXAMPLE / "demo.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Answers(BaseHTTPRequestHandler):
    """Answers each request with the next of `answers`; keeps bodies in `bodies`."""

    answers: list[tuple[int, bytes]]
    bodies: list[bytes]

    def do_GET(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        status, body = self.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *ignored: Any) -> None:
        """Nothing: a test's output is for its failures."""


@contextmanager
def answering(*answers: tuple[int, bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """A service that gives `answers` one after the other: its URL, and the bodies it was sent."""
    bodies: list[bytes] = []
    handler = type("Handler", (Answers,), {"answers": list(answers), "bodies": bodies})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def running(code: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process in the place of the service; it has said something when the block begins."""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


STAND_IN = """#!{python}
# In the place of mdai-model: ready at once, and the same answer to everything.
import http.server, os, signal, sys

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write({answer!r})

    do_POST = do_GET
    log_message = lambda *ignored: None

signal.signal(signal.SIGTERM, lambda *ignored: os._exit(0))
print("stand-in", os.getpid(), *sys.argv[1:], flush=True)
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


def stand_in(folder: Path) -> Path:
    """A command in `folder` that serves as mdai-model does, without a model."""
    command = folder / "mdai-model"
    command.write_text(STAND_IN.format(python=sys.executable, answer=msgpack.packb(BOXES)))
    command.chmod(0o755)
    return command


WAITS = "print(flush=True); import signal; signal.pause()"


def test_the_request_is_what_md_ai_sends(demo: ModuleType) -> None:
    request = msgpack.unpackb(demo.request_body(b"DICOM"))
    assert request["files"] == [{"content": b"DICOM", "content_type": "application/dicom"}]
    assert (request["annotations"], request["args"]) == ([], {})
    classes = [(each["class_index"], each["label"]["name"]) for each in request["label_classes"]]
    assert classes == [(0, "Right lung"), (1, "Left lung")]
    assert {each["label"]["annotation_mode"] for each in request["label_classes"]} == {"bbox"}


def test_the_picture_shows_the_radiograph_with_a_box_in_its_colour(demo: ModuleType, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(demo.find_radiograph())
    demo.draw(dataset, BOXES, tmp_path / "demo.png")
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.size == (942, 1000)
        scale = 1000 / 1955
        assert picture.getpixel((round(375 * scale), round(170 * scale))) == (0xFF, 0x5A, 0x5A)
        assert picture.getpixel((round(1365 * scale), round(1660 * scale))) == (0x3D, 0xDC, 0x84)


def test_the_spine_is_brighter_than_the_lungs(demo: ModuleType, tmp_path: Path) -> None:
    """The radiograph is stored with dark bones; the picture shows them bright, as people know them."""
    demo.draw(pydicom.dcmread(demo.find_radiograph()), [], tmp_path / "demo.png")
    with Image.open(tmp_path / "demo.png") as picture:
        spine, lung = picture.getpixel((470, 600)), picture.getpixel((600, 250))
    assert isinstance(spine, tuple) and isinstance(lung, tuple)
    assert spine[0] > lung[0] + 50


def test_a_picture_that_cannot_be_written_is_a_sentence(demo: ModuleType, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(demo.find_radiograph())
    with pytest.raises(demo.DemoError, match=r"picture cannot be written.*--picture"):
        demo.draw(dataset, [], tmp_path / "missing" / "demo.png")


def test_one_box_for_each_lung_is_what_the_demo_wants(demo: ModuleType) -> None:
    demo.check(BOXES)


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        BOXES[:1],
        [BOXES[0], BOXES[0]],
        [*BOXES, BOXES[0]],
        [BOXES[0], {**BOXES[1], "data": None}],
        [{"type": "NONE", **UIDS, "note": "no detector found two lungs side by side"}],
    ],
)
def test_anything_else_fails_the_demo(demo: ModuleType, outputs: list[dict[str, Any]]) -> None:
    with pytest.raises(demo.DemoError, match="not one box for each lung"):
        demo.check(outputs)


def test_waits_until_ready(demo: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    reasons = [(503, b"building\n"), (503, b"building\n"), (503, b"loading"), (200, b"ok")]
    with running(WAITS) as process, answering(*reasons) as (url, _):
        demo.wait_ready(process, url, timeout=60)
    assert "ready after" in capfd.readouterr().out


def test_a_service_that_ends_is_not_waited_for(demo: ModuleType) -> None:
    with running("print(flush=True); raise SystemExit(2)") as process:
        process.wait(60)
        with pytest.raises(demo.DemoError, match="ended with exit code 2"):
            demo.wait_ready(process, "http://127.0.0.1:9", timeout=60)


def test_waiting_ends_with_the_services_reason(demo: ModuleType) -> None:
    with (
        running(WAITS) as process,
        answering((503, b"cannot be imported")) as (url, _),
        pytest.raises(demo.DemoError, match=r"not ready after 0 s\. It says: cannot be imported"),
    ):
        demo.wait_ready(process, url, timeout=0)


def test_outputs_come_back_as_the_service_sent_them(demo: ModuleType) -> None:
    with answering((200, msgpack.packb(BOXES))) as (url, bodies):
        assert demo.predict(url, b"the body") == BOXES
    assert bodies == [b"the body"]


def test_an_error_of_the_service_is_told_in_its_own_words(demo: ModuleType) -> None:
    with (
        answering((500, b"Error running model: no lungs")) as (url, _),
        pytest.raises(demo.DemoError, match="answered 500: Error running model: no lungs"),
    ):
        demo.predict(url, b"")


def test_a_service_that_is_gone_is_a_sentence(demo: ModuleType) -> None:
    with socket.socket() as nobody_listens, pytest.raises(demo.DemoError, match="did not answer"):
        nobody_listens.bind(("127.0.0.1", 0))
        demo.predict(f"http://127.0.0.1:{nobody_listens.getsockname()[1]}", b"")


def test_a_clean_stop_is_measured(demo: ModuleType) -> None:
    stops = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); " + WAITS
    with running(stops) as process:
        assert 0 < demo.stop(process) < demo.STOP_SECONDS


def test_an_exit_code_other_than_0_is_a_failure(demo: ModuleType) -> None:
    ended = f"exit code -{signal.SIGTERM.value} after SIGTERM"
    with running(WAITS) as process, pytest.raises(demo.DemoError, match=ended):
        demo.stop(process)


def test_the_whole_demo(demo: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Ready, asked, printed as JSON, drawn, stopped; the options that are not the demo's go to `serve`."""
    picture = tmp_path / "demo.png"
    code = demo.main(["--picture", str(picture), "--python", "3.12"], stand_in(tmp_path))
    said = capfd.readouterr().out
    assert code == 0
    assert json.loads(said[said.index("[\n") : said.index("\n]") + 2]) == BOXES
    assert f"serve {EXAMPLE} --host 127.0.0.1 --port" in said and "--python 3.12" in said
    assert "stopped cleanly" in said
    assert picture.exists()


def test_a_demo_that_fails_leaves_no_service_behind(
    demo: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = demo.main(["--picture", str(tmp_path / "missing" / "demo.png")], stand_in(tmp_path))
    said = capfd.readouterr()
    assert code == 1
    assert said.err.startswith("demo: the picture cannot be written")
    [pid] = re.findall(r"stand-in (\d+)", said.out)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_a_demo_without_the_command_says_how_to_get_it(
    demo: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert demo.main([], tmp_path / "mdai-model") == 1
    assert "does not exist: run `make demo`" in capfd.readouterr().err
