"""What could differ between interpreters, shown on real ones: exact bytes on each; ends, prints, children and habits
of packages on the oldest and the newest."""

import logging
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from model_loader.errors import DeadlineExceeded, DiedLoading, ModelRaised, PredictFailed, WorkerDied
from model_loader.line import PoolLimits
from tests.building import write_files
from tests.exports import REQUESTED, export_files
from tests.hosting import PACKAGES, PATIENCE, Hosted, is_alive
from tests.interpreters import OLDEST_AND_NEWEST, SERIES, cache_with_runtimes, interpreter

Host = Callable[..., Hosted]


@pytest.fixture(params=OLDEST_AND_NEWEST)
def series(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def host_on(host: Host, series: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Opens a package for workers on the interpreter, which nobody has started yet."""
    python, cache = interpreter(series), cache_with_runtimes(tmp_path, tmp_path_factory)
    return lambda package, **options: host(package, **{"environment": python, "cache": cache} | options)


@pytest.fixture
def serve(host_on: Host) -> Host:
    """Serves a package on the interpreter from a pool that is ready."""
    return lambda package, **options: host_on(package, **options).start()


@pytest.fixture
def printed(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What workers have printed so far, line by line."""
    caplog.set_level(logging.INFO, logger="model")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "model"]


EVERY_KIND = [
    [2**n + d for n in (5, 7, 8, 15, 16, 31, 32, 63) for d in (-1, 0)] + [2**64 - 1],
    [-(2**n) - d for n in (0, 5, 7, 8, 15, 16, 31, 32) for d in (0, 1)] + [-(2**63)],
    [0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, math.inf, -math.inf],
    [True, False, None],
    ["", "🫁" * 7, "a" * 31, "a" * 32, "a" * 255, "a" * 256, "a" * 65535, "a" * 65536],
    [b"", b"a" * 255, b"a" * 256, b"a" * 65535, b"a" * 65536],
    [[0] * length for length in (0, 15, 16, 65535, 65536)],
    [{str(key): key for key in range(length)} for length in (0, 15, 16)],
    [[1, [2.5, ["x", [b"y", [None]]]]], [[0, 1], [1]], {"a": {"b": [{"c": []}]}}],
]


@pytest.mark.parametrize("series", SERIES, indirect=True)
def test_plain_outputs_are_packed_byte_for_byte_as_the_server_s_msgpack_would(serve: Host) -> None:
    """Those that the package got with the request, which msgpack read, and those that its own code made."""
    served = serve("returns_what_is_asked")
    outputs = [{"type": "NONE", "study_uid": "1.2", "note": None, "any": kind} for kind in EVERY_KIND]
    outputs += [
        {"study_uid": "1.2", "class_index": 3, "data": {"mask": [[0, 1, 255]] * 99}, "probability": 0.25, "type": "X"},
        {"data": {"vertices": [[1, 2.5], [-1, 2**40]]}, "frame_number": None, "explanations": [{"content": b"\xff"}]},
    ]
    assert served.predict({"files": [], "outputs": outputs}).body == msgpack.packb(outputs)
    made = [output for output in outputs if len(repr(output)) < 4000]
    expression = f"(lambda inf: {made!r})(float('inf'))"
    assert served.predict({"files": [], "args": {"expression": expression}}).body == msgpack.packb(made)


@pytest.mark.parametrize("series", ["3.7", "3.12"], indirect=True)
def test_a_package_sees_just_the_versions_it_pins_though_the_server_could_not_run_with_them(
    serve: Host, series: str, tmp_path: Path
) -> None:
    """In an environment that is really built for it."""
    package = shutil.copytree(PACKAGES / "pins_old_versions", tmp_path / "package")
    (package / ".mdai/config.yaml").write_text(f"base_image: py{series.replace('.', '')}\n")
    request = {"files": [{"content": b"x", "content_type": "text/plain"}]}
    seen = serve(package, environment="auto").predict(request).note
    assert seen["msgpack"] == [0, 6, 2]
    assert seen["pydantic"].startswith("1.")
    assert seen["content arrived"]


@pytest.mark.parametrize("series", ["3.7"], indirect=True)
@pytest.mark.parametrize("environment", ["auto", "current"])
def test_numpy_imports_beside_a_package_s_own_random(serve: Host, environment: str) -> None:
    served = serve("own_random_and_numpy", environment=environment, preinstalled=("numpy",))
    assert served.note() == {"numpy works": True, "own random": False}


def test_a_request_without_label_classes_gets_those_of_the_export_whatever_the_last_one_did_to_them(
    serve: Host, tmp_path: Path
) -> None:
    """Python 3.7 and the newest; a request's own classes come as they are."""
    code = (PACKAGES / "echoes/.mdai/mdai_deploy.py").read_text()
    changes = "        note = json.dumps(seen)\n        data['label_classes'].append('mine')\n        return ["
    changing = code.replace("        return [", changes).replace('"note": json.dumps(seen)', '"note": note')
    assert changing.count("note") == 3
    served = serve(write_files(tmp_path / "export", export_files("", {1: {".mdai/mdai_deploy.py": changing}})))
    files = [{"content": b"x", "content_type": "text/plain", "dicom_tags": {}}]
    for absent in ({}, {"label_classes": None}, {}):
        seen = served.predict({"files": files, **absent}).note
        assert seen["label_classes"] == list(REQUESTED)
        assert seen["shared classes"] == [True]
    for own in ([], [{"class_index": 5, "label": None, "more": [1]}]):
        assert served.predict({"files": files, "label_classes": own}).note["label_classes"] == own


FATAL_AT_PREDICT = [
    ("predict_ends_process", WorkerDied, "ended itself with exit code 9"),
    ("predict_segfaults", WorkerDied, "signal 11 (SIGSEGV)"),
    ("predict_kills_itself", WorkerDied, "signal 9 (SIGKILL)"),
    ("predict_catches_everything", DeadlineExceeded, "longer than 0.5 s"),
]


@pytest.mark.parametrize(("package", "error", "says"), FATAL_AT_PREDICT, ids=[row[0] for row in FATAL_AT_PREDICT])
def test_an_end_or_a_hang_in_predict_costs_one_request(
    serve: Host, package: str, error: type[PredictFailed], says: str
) -> None:
    served = serve(package, limits=PoolLimits(PATIENCE, 0.5 if error is DeadlineExceeded else PATIENCE))
    first = served.note()
    with pytest.raises(error) as raised:
        served.note(misbehave="yes")
    assert says in raised.value.text
    if "segfaults" in package:
        assert "string_at" in raised.value.text, "the last words are Python's own traceback of the crash"
    served.until_ready()
    assert served.note() != first


def test_a_crash_while_loading_is_told_with_its_place(host_on: Host) -> None:
    with pytest.raises(DiedLoading, match=r"signal 11 \(SIGSEGV\)(?s:.*)string_at"):
        host_on("init_segfaults").worker()


def test_sys_exit_in_predict_fails_one_request_and_the_process_goes_on(serve: Host) -> None:
    served = serve("predict_exits")
    before = served.processes()
    with pytest.raises(ModelRaised, match=r"predict\(data\) called sys.exit\('3'\)"):
        served.note(code="3")
    assert served.processes() == before


def test_prints_from_python_c_and_children_are_logged_and_disturb_nothing(
    serve: Host, printed: Callable[[], list[str]]
) -> None:
    served = serve("prints_everywhere")
    assert served.predict().outputs == [{"type": "NONE", "study_uid": "1.2"}]
    sources = ("python out", "python err", "c out", "raw out", "raw err", "child out")
    expected = [f"{source} {when}" for source in sources for when in ("import", "init", "predict")]
    served.until(lambda: all(any(text in line for line in printed()) for text in expected), "every line has come")


def test_a_package_that_prints_nothing_has_nothing_in_the_log(serve: Host, printed: Callable[[], list[str]]) -> None:
    """No warning of the interpreter's about the worker's own doing either."""
    served = serve("returns_what_is_asked")
    served.predict({"files": [], "args": {"expression": "[]"}})
    served.stop()
    assert printed() == []


def test_children_of_multiprocessing_work_and_write_nothing_into_the_package(serve: Host, tmp_path: Path) -> None:
    package = shutil.copytree(PACKAGES / "pool_in_predict", tmp_path / "package", ignore=_BYTECODE)
    before = set(package.rglob("*"))
    served = serve(package)
    for method in ("fork", "spawn", "forkserver"):
        assert served.note(method=method) == [0, 1, 4, 9, 16]
        assert set(package.rglob("*")) == before


_BYTECODE = shutil.ignore_patterns("__pycache__")


def test_spawned_children_that_are_kept_from_init_serve_every_request(serve: Host) -> None:
    served = serve("pool_kept", environ={"METHOD": "spawn"})
    assert served.note() == served.note()


def test_the_request_can_be_handed_to_a_child_as_the_plain_dict_that_it_looks_like(serve: Host) -> None:
    served = serve("sends_request_to_child")
    for method in ("fork", "spawn"):
        request = {"files": [{"content": b"x", "content_type": "text/plain"}], "args": {"method": method}}
        assert served.predict(request).note == [["dict", "x", {"method": method}], True]


def test_a_child_that_the_package_forks_does_not_answer_for_its_parent(serve: Host) -> None:
    served = serve("forks_and_returns")
    assert [served.note(how=how) for how in ("return", "exit", "raise")] == ["parent"] * 3
    assert len(served.processes()) == 1


def test_left_over_threads_and_children_end_with_the_worker(serve: Host) -> None:
    threads, children = serve("leaves_threads"), serve("leaves_children")
    assert threads.note() == 3
    pids = children.note()
    assert all(is_alive(pid) for pid in pids)
    for served in (threads, children):
        served.stop()
        assert not served.processes()


def test_standard_streams_that_were_detached_are_there_again(serve: Host, printed: Callable[[], list[str]]) -> None:
    """Packages from 2019 wrap `sys.stdout.detach()`, some forget to."""
    served = serve("redirects_streams")
    assert len({served.note(how="codecs"), served.note(how="detached"), served.note()}) == 1
    served.until(lambda: "written to descriptor 1" in printed(), "the line has come")


def test_descriptors_closed_twice_hit_nothing_of_the_worker_s(serve: Host) -> None:
    served = serve("closes_low_descriptors")
    for _ in range(2):
        assert served.note() == [3, 0]


def test_what_a_signal_handler_raises_between_requests_is_printed_and_costs_nothing(
    serve: Host, printed: Callable[[], list[str]]
) -> None:
    served = serve("raises_in_signal_handler")
    pid = served.note()
    for times in (1, 2):
        served.until(lambda: sleeps(pid), "the worker waits for a request")
        os.kill(pid, signal.SIGALRM)
        served.until(lambda: printed().count("TimeoutError: predict is late") == times, "the handler has run")  # noqa: B023
        assert served.note() == pid
    assert not [line for line in printed() if "mdai_guest" in line]


def sleeps(pid: int) -> bool:
    return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_what_scripts_do_to_their_process_at_import_disturbs_nothing(
    serve: Host, printed: Callable[[], list[str]]
) -> None:
    served = serve("habits_of_scripts")
    pid = served.pool.describe()["workers"][0]["pid"]
    for _ in range(2):
        assert served.note() == [pid, "Network"]
    expected: list[Any] = ["DEBUG:model:built", "from a thread", "100%|####      |"]
    served.until(lambda: all(any(text in line for line in printed()) for text in expected), "every line has come")


def test_a_model_that_uses_up_its_descriptors_costs_one_request_and_is_told_so(serve: Host) -> None:
    """It is not the caller's fault, and a worker that starts anew has them back."""
    served = serve("leaks_descriptors")
    first = served.note()
    assert served.note() == first, "a small request needs none"
    with pytest.raises(WorkerDied, match="no file descriptor left: the model opens files"):
        served.note(long="x" * 100_000)
    served.until_ready()
    assert served.note() != first


def test_children_that_are_forked_and_kept_hold_neither_the_channel_nor_the_request(serve: Host) -> None:
    """Else a request's memory would be used for as long as the child lives."""
    served = serve("forks_and_keeps")
    for _ in range(2):
        child_lives, targets = served.note()
        assert child_lives
        assert targets
        assert not [target for target in targets if "socket" in target]
        # The few bytes by which children, too, learn that nobody waits any more.
        assert len([target for target in targets if "memfd" in target]) == 1
