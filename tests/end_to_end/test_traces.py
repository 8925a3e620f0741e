"""Traces of the real service: what a collector gets of it, and what one that is down costs."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.collector import collecting, values

Serve = Callable[..., Any]
Write = Callable[..., Path]

CODE = """
import os
class MDAIModel:
    def predict(self, data):
        if data["args"].get("how") == "die":
            os._exit(3)
        seen = sorted(name for name in os.environ if name.startswith("OTEL_"))
        return [{"type": "NONE", "study_uid": "1.2", "note": " ".join(seen) or "nothing"}]
"""
MSGPACK = {"Content-Type": "application/msgpack"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


def ask(service: Any, how: str = "", **headers: str) -> Any:
    body = {"files": [{"content": b"x", "content_type": "application/dicom"}], "args": {"how": how}}
    return service.post(content=msgpack.packb(body), headers=MSGPACK | headers)


def test_a_worker_is_named_in_the_spans_of_what_it_did_and_of_what_it_died_of(serve: Serve, package: Write) -> None:
    with collecting() as collector:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "key=hunter2",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }
        service = serve(package(CODE), "--environment", "current", environ=variables).wait_until_ready()
        answer = ask(service, **PARENT)
        assert msgpack.unpackb(answer.content)[0]["note"] == "nothing", "a model gets nothing of what traces need"
        assert ask(service, "die").status_code == 500
        good, bad = collector.wait_for_spans("POST /predict", 2)
        assert service.stop() == 0
    assert good.trace_id.hex() == TRACE
    assert values(good.attributes)["mdai_model.worker"] == values(bad.attributes)["mdai_model.worker"] == 1
    assert values(bad.attributes)["mdai_model.outcome"] == "worker-died"
    assert set(collector.inside(good)) == {"upload", "queue", "decode", "predict", "encode", "judge", "send"}
    assert set(collector.inside(bad)) == {"upload", "queue", "predict", "send"}


@contextmanager
def nobody() -> Iterator[str]:
    """The address of a collector that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def one_that_never_answers() -> Iterator[str]:
    """It takes connections and says nothing."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            while True:
                try:
                    taken.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in taken:
        connection.close()


@pytest.mark.parametrize("collector", [nobody, one_that_never_answers])
def test_a_collector_that_is_down_costs_a_second_at_the_end_and_a_line(
    serve: Serve, package: Write, collector: Any
) -> None:
    """The second is the only bound on time here; a collector's own ten seconds would be over it by far."""
    with collector() as url:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "3600" if collector is one_that_never_answers else "0.5",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }
        service = serve(package(CODE), "--environment", "current", environ=variables).wait_until_ready()
        assert all(ask(service).status_code == 200 for _ in range(30))
        if collector is nobody:
            service.wait_for_line("Traces do not get to the collector at http://127.0.0.1:")
            assert all(ask(service).status_code == 200 for _ in range(30))
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 30, "a collector that never answers would keep it for an hour"
    about = [line for line in service.lines if "race" in line or "pentelemetry" in line or "xport" in line]
    assert len(about) == (1 if collector is nobody else 0), about


def test_an_extra_that_is_not_installed_is_said_once_and_everything_works(
    serve: Serve, package: Write, tmp_path: Path
) -> None:
    hiding = tmp_path / "hiding"
    hiding.mkdir()
    (hiding / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'opentelemetry.sdk':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "PYTHONPATH": str(hiding)}
    service = serve(package(CODE), "--environment", "current", environ=variables).wait_until_ready()
    assert ask(service).status_code == 200
    assert service.stop() == 0
    assert service.output.count("opentelemetry.sdk is not installed. `pip install 'mdai-model-server[otel]'`") == 1
