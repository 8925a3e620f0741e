"""What a worker promises of packages that misbehave, each shown by a package of `tests/packages` in a real process."""

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest

from model_loader.errors import (
    ClassMissing,
    DeadlineExceeded,
    DiedLoading,
    ImportFailed,
    InitFailed,
    LoadFailed,
    LoadTimeout,
    ModelRaised,
    NotReady,
    OutputUnwritable,
    PredictFailed,
    RequestUnreadable,
    WorkerDied,
)
from model_loader.line import PoolLimits
from model_loader.shared_buffer import SharedBuffer
from tests.hosting import PATIENCE, Hosted, is_alive, submitted

Host = Callable[..., Hosted]


@dataclass(frozen=True)
class Failure:
    """What must be said when `package` fails: the error's type, pieces of its text, pieces of its traceback."""

    package: str
    error: type[LoadFailed] | type[PredictFailed]
    says: tuple[str, ...]
    traceback: tuple[str, ...] = ()
    args: tuple[tuple[str, str], ...] = ()


def by_package(failures: tuple[Failure, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("failure", failures, ids=lambda failure: failure.package)


FATAL_AT_LOAD = (
    Failure(
        "import_misses_module",
        ImportFailed,
        (
            "importing mdai_deploy.py raised ModuleNotFoundError",
            "no module 'torchvision_of_last_year' of its own",
            "name that in .mdai/requirements.txt",
        ),
        ("import torchvision_of_last_year.models",),
    ),
    Failure(
        "import_misses_name",
        ImportFailed,
        ("importing mdai_deploy.py raised ImportError: cannot import name 'float_of_old'",),
        ("import preparation", "preparation.py"),
    ),
    Failure(
        "import_has_syntax_error",
        ImportFailed,
        ("importing mdai_deploy.py raised SyntaxError",),
        ("def predict(self, data:", "^"),
    ),
    Failure(
        "import_raises",
        ImportFailed,
        ("importing mdai_deploy.py raised FileNotFoundError", "no/such/weights.h5"),
        ("open(",),
    ),
    Failure("import_exits", ImportFailed, ("importing mdai_deploy.py called sys.exit(3).",), ("sys.exit(3)",)),
    Failure("class_missing", ClassMissing, ("mdai_deploy.py has no class MDAIModel", "LungFinder", "MDAIModel.")),
    Failure("class_in_wrong_case", ClassMissing, ("has no class MDAIModel (it defines the class", "MdaiModel")),
    Failure("class_is_function", ClassMissing, ("MDAIModel in mdai_deploy.py is a function", "`class MDAIModel:`")),
    Failure(
        "predict_without_data", ClassMissing, ("MDAIModel.predict takes () beside self", "def predict(self, data)")
    ),
    Failure("predict_is_async", ClassMissing, ("MDAIModel.predict is `async def`", "`def predict(self, data):`")),
    Failure(
        "init_opens_relative_path",
        InitFailed,
        ("No such file or directory: 'weights.bin'.", "lies in the model root: open os.path.join('lib', ...)"),
        ('open("weights.bin", "rb")',),
    ),
    Failure(
        "import_misses_opencv",
        ImportFailed,
        ("No module named 'cv2'.", "it comes with opencv-python-headless"),
        ("import cv2",),
    ),
    Failure("class_without_predict", ClassMissing, ("MDAIModel", "has no method predict", "def predict(self, data)")),
    Failure(
        "init_raises",
        InitFailed,
        ("MDAIModel() raised OSError: weights.h5 is truncated.",),
        ("self.load()", "in load", "OSError: weights.h5 is truncated"),
    ),
    Failure(
        "init_wants_arguments",
        InitFailed,
        ("MDAIModel() raised TypeError", "without arguments: give weights a default"),
    ),
    Failure("init_exits", InitFailed, ("MDAIModel() called sys.exit('no GPU here').",), ("sys.exit",)),
    Failure(
        "init_ends_process",
        DiedLoading,
        ("ended itself with exit code 7", "while it loaded the model", "licence expired"),
    ),
    Failure(
        "init_segfaults",
        DiedLoading,
        ("signal 11 (SIGSEGV)", "crash in native code", "while it loaded the model", "string_at"),
    ),
)


@by_package(FATAL_AT_LOAD)
def test_a_model_that_cannot_load_says_why_and_leaves_no_process(host: Host, failure: Failure) -> None:
    hosted = host(failure.package)
    with pytest.raises(LoadFailed) as raised:
        hosted.worker()
    assert type(raised.value) is failure.error
    for piece in failure.says:
        assert piece in raised.value.text
    for piece in failure.traceback:
        assert piece in raised.value.traceback
    assert "mdai_guest" not in raised.value.traceback, "the traceback begins at the package's own first frame"
    assert not hosted.processes()


def test_every_way_to_fail_at_load_has_a_text_of_its_own(host: Host) -> None:
    texts = set()
    for failure in FATAL_AT_LOAD:
        with pytest.raises(LoadFailed) as raised:
            host(failure.package).worker()
        texts.add(raised.value.text)
    assert len(texts) == len(FATAL_AT_LOAD)


def test_a_model_that_never_finishes_loading_is_stopped_at_the_timeout(host: Host) -> None:
    hosted = host("init_hangs")
    with pytest.raises(LoadTimeout, match=r"not ready within 0\.5 s and was stopped.*--startup-timeout"):
        hosted.worker(timeout=0.5)
    assert not hosted.processes()


def test_the_pool_refuses_requests_with_the_reason_and_traceback_of_a_failed_load(host: Host) -> None:
    with pytest.raises(NotReady, match=r"MDAIModel\(\) raised OSError: weights.h5 is truncated\.") as raised:
        host("init_raises").start()
    assert "in load" in raised.value.traceback


FATAL_AT_PREDICT = (
    Failure("predict_ends_process", WorkerDied, ("ended itself with exit code 9", "while it predicted")),
    Failure("predict_segfaults", WorkerDied, ("signal 11 (SIGSEGV)", "crash in native code", "string_at")),
    Failure("predict_aborts", WorkerDied, ("signal 6 (SIGABRT)", "crash in native code")),
    Failure("predict_kills_itself", WorkerDied, ("signal 9 (SIGKILL)", "memory r")),
    Failure("predict_closes_descriptors", WorkerDied, ("while it predicted", "channel")),
    Failure("predict_writes_to_channel", WorkerDied, ("while it predicted", "channel")),
    Failure("predict_catches_everything", DeadlineExceeded, ("longer than 0.5 s", "--predict-timeout")),
    Failure("predict_holds_gil", DeadlineExceeded, ("longer than 0.5 s", "--predict-timeout")),
)


@by_package(FATAL_AT_PREDICT)
def test_a_model_that_dies_or_hangs_costs_one_request_and_its_process_with_all_children(
    serve: Host, failure: Failure
) -> None:
    patience = 0.5 if failure.error is DeadlineExceeded else PATIENCE
    served = serve(failure.package, limits=PoolLimits(PATIENCE, patience))
    first = served.note()
    with pytest.raises(PredictFailed) as raised:
        served.note(misbehave="yes")
    assert type(raised.value) is failure.error
    for piece in failure.says:
        assert piece in raised.value.text
    served.until_ready()
    second = served.note()
    assert second != first
    served.until(lambda: served.processes() == {second}, "only the new worker is left")
    assert served.pool.describe()["workers"][0]["restarts"] == 1


RECOVERABLE = (
    Failure(
        "predict_raises",
        ModelRaised,
        ("predict(data) raised KeyError: 'image/png'.",),
        ("self.look_at(file)", "KeyError: 'image/png'"),
    ),
    Failure("predict_wants_gpu", ModelRaised, ("No GPU is visible to this worker", "torch.cuda.is_available()")),
    Failure("predict_raises_oddly", ModelRaised, ("predict(data) raised Unspeakable.",), ("raise Unspeakable",)),
    Failure(
        "predict_raises_at_length",
        ModelRaised,
        ("predict(data) raised ValueError: beginning", "characters left out"),
        ("ValueError: beginning", "characters left out", "end"),
    ),
    Failure("predict_exits", ModelRaised, ("predict(data) called sys.exit().",), ("sys.exit(",)),
)


@by_package(RECOVERABLE)
def test_a_model_that_raises_fails_one_request_and_goes_on_in_the_same_process(serve: Host, failure: Failure) -> None:
    served = serve(failure.package)
    before = served.processes()
    for _ in range(2):
        with pytest.raises(PredictFailed) as raised:
            served.predict({"files": [{"content": b"x", "content_type": "image/png"}]})
        assert type(raised.value) is failure.error
        for piece in failure.says:
            assert piece in raised.value.text
        assert len(raised.value.text) < 25_000
        for piece in failure.traceback:
            assert piece in raised.value.traceback
        assert "mdai_guest" not in raised.value.traceback
    assert served.processes() == before


def test_sys_exit_in_predict_is_told_with_its_code(serve: Host) -> None:
    with pytest.raises(ModelRaised, match=r"called sys.exit\('3'\)"):
        serve("predict_exits").note(code="3")


def test_a_predict_that_the_instance_brings_is_as_good_as_one_of_the_class(serve: Host) -> None:
    assert serve("predict_set_by_init").predict().outputs == [{"type": "NONE", "study_uid": "1.2"}]


def test_none_as_a_result_has_no_response_and_a_skeleton_for_the_judge(serve: Host) -> None:
    answer = serve("predict_returns_none").predict()
    assert answer.body == b""
    assert answer.skeleton == b"\xc0"


def test_whatever_a_model_prints_is_logged_and_disturbs_nothing(serve: Host, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="model")
    served = serve("prints_everywhere")
    for _ in range(2):
        assert served.predict().outputs == [{"type": "NONE", "study_uid": "1.2"}]
    served.until(lambda: any("🫁" in line for _, line in lines(caplog)), "the last line has come")
    printed = lines(caplog)
    for when, times in (("import", 1), ("init", 1), ("predict", 2)):
        for stream, source in (
            ("stdout", "python out"),
            ("stderr", "python err"),
            ("stdout", "c out"),
            ("stdout", "raw out"),
            ("stderr", "raw err"),
            ("stdout", "child out"),
        ):
            found = [line for where, line in printed if where == stream and f"{source} {when}" in line]
            assert len(found) == times, f"{source} {when}: {printed}"
    assert any(line.startswith("\\udcff ") for _, line in printed)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[Any, str]]:
    return [(record.__dict__["stream"], record.getMessage()) for record in caplog.records if record.name == "model"]


@pytest.mark.parametrize(
    "args",
    [{"objects": "stdout stderr stdin"}, {"descriptors": "1 2"}, {"descriptors": "0 1 2", "objects": "stdin"}],
    ids=["objects", "descriptors", "both"],
)
def test_closed_standard_streams_are_there_again_for_the_next_request(
    serve: Host, caplog: pytest.LogCaptureFixture, args: dict[str, str]
) -> None:
    caplog.set_level(logging.INFO, logger="model")
    served = serve("closes_streams")
    pid = served.note(**args)
    assert served.note(print="from Python") == pid
    served.until(lambda: {"from Python", "echo from a child"} <= printed_set(caplog), "both lines have come")


@pytest.mark.parametrize("how", ["text", "null", "tee", "none", "missing"])
def test_redirected_standard_streams_do_not_disturb_and_descriptors_come_back(
    serve: Host, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.INFO, logger="model")
    served = serve("redirects_streams")
    pid = served.note(how=how)
    assert served.note() == pid
    served.until(lambda: "written to descriptor 1" in printed_set(caplog), "the line has come")


def printed_set(caplog: pytest.LogCaptureFixture) -> set[str]:
    return {line for _, line in lines(caplog)}


def test_left_over_threads_neither_hold_up_answers_nor_the_end(serve: Host) -> None:
    served = serve("leaves_threads")
    assert served.note() == 3
    served.stop()
    assert not served.processes()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_left_over_children_are_gone_when_the_worker_is(serve: Host, end: str) -> None:
    served = serve("leaves_children")
    children = served.note()
    assert all(is_alive(pid) for pid in children)
    if end == "kill":
        worker = served.pool.describe()["workers"][0]["pid"]
        os.kill(worker, 9)
        served.until(lambda: not any(map(is_alive, children)), "the children are gone")
        served.until_ready()
        assert served.note() != children
    served.stop()
    assert not served.processes()


@pytest.mark.parametrize("how", ["return", "exit", "raise"])
def test_a_forked_child_that_leaves_predict_like_its_parent_does_not_answer_for_it(serve: Host, how: str) -> None:
    served = serve("forks_and_returns")
    assert served.note(how=how) == "parent"
    assert served.note() == "parent"
    assert len(served.processes()) == 1


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes_work_in_predict(serve: Host, method: str) -> None:
    served = serve("pool_in_predict")
    assert served.note(method=method) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_processes_kept_from_init_works_for_every_request(serve: Host, method: str) -> None:
    served = serve("pool_kept", environ={"METHOD": method})
    assert served.note() == served.note()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes_print_read_nothing_and_exit_as_they_like(
    serve: Host, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    caplog.set_level(logging.INFO, logger="model")
    served = serve("process_prints")
    assert served.note(method=method) == 4
    served.until(lambda: "a child speaks" in printed_set(caplog), "the line has come")


@pytest.mark.parametrize("package", ["changes_process", "alters_imports", "patches_modules"])
@pytest.mark.parametrize("accept", ["msgpack", "json"])
def test_changes_to_the_process_and_to_modules_do_not_reach_the_guest(serve: Host, package: str, accept: Any) -> None:
    """The same process answers, correctly, request after request."""
    served = serve(package)
    bodies = {served.predict({"files": []}, accept).body for _ in range(3)}
    assert len(bodies) == 1
    assert str(served.pool.describe()["workers"][0]["pid"]).encode() in bodies.pop()


@pytest.mark.parametrize("args", [{}, {"at once": "yes"}], ids=["afterwards", "at once"])
def test_a_worker_that_shrinks_shared_files_cannot_hurt_the_server(serve: Host, args: dict[str, str]) -> None:
    served = serve("shrinks_shared_files")
    for _ in range(3):
        answer = served.predict({"files": [], "args": args | {"long": "x" * 100_000}})
        assert answer.outputs[0]["data"]["mask"] == [[1] * 999] * 999


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "msgpack"),
        (b"\x81\xa5files", "msgpack"),
        (b"\xdd\xff\xff\xff\xff", "msgpack"),
        (b"\x91" * 10_000, "msgpack"),
        (b"\x81\xa5files\x90\x00", "msgpack"),
        (b"\x81\x01\x02", "msgpack"),
        (b"\x81\xa5files\x91\xa2\xff\xff", "msgpack"),
        (b"\x90", "files"),
        (b"\x81\xa5files\x03", "files"),
    ],
    ids=["empty", "cut off", "4 GiB", "deep", "more behind", "int key", "no UTF-8", "no map", "no list"],
)
def test_a_body_that_is_no_request_fails_alone(serve: Host, body: bytes, says: str) -> None:
    served = serve("echoes")
    with pytest.raises(RequestUnreadable) as raised:
        served.run(_predict_bytes(served, body))
    assert says in raised.value.text
    assert served.note()["args"] == {}


async def _predict_bytes(served: Hosted, body: bytes) -> Any:
    from tests.hosting import predict

    return await predict(served.pool, body)


def test_an_output_that_cannot_be_written_fails_one_request_and_names_the_place(serve: Host) -> None:
    served = serve("returns_what_is_asked")
    with pytest.raises(OutputUnwritable, match=r"outputs\[1\]\.note is a set"):
        served.predict({"files": [], "args": {"expression": "[{}, {'note': {1}}]"}})
    assert served.predict({"files": [], "outputs": [{"note": "fine"}]}).outputs == [{"note": "fine"}]


HOLDS = """
import os

class Outputs(list):
    def __del__(self):
        with open(os.environ["PATH_OF_MARK"], "w"):
            pass

class MDAIModel:
    def predict(self, data):
        return Outputs()
"""


@pytest.fixture
def marks_the_end(tmp_path: Path, host: Host) -> tuple[Hosted, Path]:
    """A package whose outputs open a file for writing when they are freed, and this file, which is not there yet."""
    mark, folder = tmp_path / "mark", tmp_path / "holds" / ".mdai"
    folder.mkdir(parents=True)
    (folder / "mdai_deploy.py").write_text(HOLDS)
    return host(folder.parent, environ={"PATH_OF_MARK": str(mark)}), mark


def test_an_answer_is_sent_before_its_outputs_are_freed_and_these_before_the_next_request(
    marks_the_end: tuple[Hosted, Path],
) -> None:
    service, mark = marks_the_end
    os.mkfifo(mark)  # to open one for writing takes until somebody reads
    service.start()
    for _ in range(2):
        assert service.predict().outputs == []
        assert mark.read_text() == ""


def test_outputs_are_freed_before_the_answer_where_memory_is_measured_after_it(
    marks_the_end: tuple[Hosted, Path],
) -> None:
    service, mark = marks_the_end
    worker = service.worker()
    worker.frees_first = True

    async def answered() -> None:
        with SharedBuffer() as body:
            body.write(msgpack.packb({"files": []}))
            answer = await submitted(worker, body)
            answer.body.close()

    service.run(answered())
    assert mark.exists()


PRINTS_AS_FREED = """
import ctypes
import os
import sys

class Outputs(list):
    def __del__(self):
        print("freed in Python")
        ctypes.CDLL(None).puts(b"freed in C")
        os.close(1)
        sys.stdout.close()

class MDAIModel:
    def predict(self, data):
        print("predicts again" if os.path.exists("before") else "predicts", end="")
        open("before", "w").close()
        return Outputs()
"""


def test_what_is_printed_and_closed_as_outputs_are_freed_disturbs_nothing(
    host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="model")
    folder = tmp_path / "prints" / ".mdai"
    folder.mkdir(parents=True)
    (folder / "mdai_deploy.py").write_text(PRINTS_AS_FREED)
    served = host(folder.parent).start()
    for _ in range(3):
        assert served.predict().outputs == []
    expected = ("freed in Python", "freed in C", "predicts again")
    served.until(lambda: all(text in "".join(printed_set(caplog)) for text in expected), "all have come")


TELLS_DIGEST = """
import hashlib

class MDAIModel:
    def predict(self, data):
        digest = hashlib.sha256(data["files"][0]["content"]).hexdigest()
        return [{"type": "NONE", "study_uid": "1.2", "note": digest}]
"""


def test_a_request_arrives_whole_whatever_way_its_size_takes(host: Host, tmp_path: Path) -> None:
    """In the message, in a file that is copied, in one that is mapped."""
    folder = tmp_path / "digests" / ".mdai"
    folder.mkdir(parents=True)
    (folder / "mdai_deploy.py").write_text(TELLS_DIGEST)
    served = host(folder.parent).start()
    for size in (0, 1000, 40_000, (1 << 20) - 100, *range((1 << 20) - 30, (1 << 20) - 10), 1 << 20, 3_000_000, 7):
        content = os.urandom(size)
        answer = served.predict({"files": [{"content": content}]}).outputs[0]
        assert answer["note"] == hashlib.sha256(content).hexdigest()
