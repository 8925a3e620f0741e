"""Requests that nobody waits for any more, and those whose own time is over: on real workers."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from model_loader.errors import DeadlineExceeded, OutputUnwritable, QueueFull
from model_loader.line import PoolLimits
from model_loader.prediction import PredictRequest
from model_loader.shared_buffer import SharedBuffer
from tests.hosting import PATIENCE, Hosted, until, within
from tests.interpreters import OLDEST_AND_NEWEST, cache_with_runtimes, interpreter

Host = Callable[..., Hosted]


@pytest.fixture(params=OLDEST_AND_NEWEST)
def serve(
    request: pytest.FixtureRequest, host: Host, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Hosted]:
    """The package on the oldest and the newest interpreter."""
    python, cache = interpreter(request.param), cache_with_runtimes(tmp_path, tmp_path_factory)

    def served(package: str = "heeds_cancellation", **limits: Any) -> Hosted:
        options: dict[str, Any] = {"environment": python, "cache": cache, "environ": {"MEETING": str(tmp_path)}}
        return host(package, **options, limits=PoolLimits(PATIENCE, PATIENCE, **limits)).start()

    return served


def ask(hosted: Hosted, timeout: float | None = None, **args: str) -> "asyncio.Task[Any]":
    async def asked() -> Any:
        with SharedBuffer() as body:
            body.write(msgpack.packb({"files": [], "args": args}))
            with await hosted.pool.predict(PredictRequest(body, "msgpack", "test", timeout)) as prediction:
                return msgpack.unpackb(prediction.body.read(0, prediction.size))

    return asyncio.create_task(asked())


async def there(path: Path) -> None:
    await until(path.exists, f"{path.name} is there")


def state(hosted: Hosted) -> tuple[str, int]:
    (worker,) = hosted.pool.describe()["workers"]
    return worker["state"], worker["restarts"]


@pytest.mark.parametrize("way", ["wait", "look", "look_in_child"])
@pytest.mark.parametrize("kills", [False, True])
def test_a_model_is_told_at_once_that_nobody_waits_and_its_worker_lives_on_when_it_returns(
    serve: Callable[..., Hosted], tmp_path: Path, way: str, kills: bool
) -> None:
    """`mdai_cancelled` as the reference has it: an event, of each request its own. No thread of ours beside it."""
    hosted = serve(kills_abandoned=kills)
    before = hosted.note()
    assert before["is an event"] and not before["set"] and not before["waited for"]
    assert (before["copies"], before["threads"]) == (["Event", "Event"], 1)

    async def scenario() -> None:
        task = ask(hosted, way=way, name="a")
        await there(tmp_path / "a.begun")
        assert not (tmp_path / "a.told").exists()
        task.cancel()
        await there(tmp_path / "a.told")
        await until(lambda: state(hosted) == ("ready", 0), "the same worker is ready")

    hosted.run(scenario())
    after = hosted.note()
    assert (after["pid"], after["set"]) == (before["pid"], False)
    assert all(after["after its request"]), "a thread that was left behind is not told otherwise"


def test_a_model_that_does_not_heed_it_runs_on_or_is_killed_as_the_operator_says(
    serve: Callable[..., Hosted], tmp_path: Path
) -> None:
    hosted = serve(kills_abandoned=True)

    async def scenario() -> None:
        task = ask(hosted, way="ignore", name="a")
        await there(tmp_path / "a.begun")
        task.cancel()
        await until(lambda: state(hosted) == ("ready", 1), "another worker is ready")
        assert task.cancelled()

    hosted.run(scenario())
    assert not (tmp_path / "a.told").exists()


@pytest.mark.parametrize("package", ["predict_catches_everything", "predict_holds_gil"])
def test_a_request_s_own_deadline_ends_whatever_runs_and_its_children(
    serve: Callable[..., Hosted], package: str
) -> None:
    hosted = serve(package)
    before = hosted.note()

    async def scenario() -> None:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"when the 0\.3 s that the request allows were over"):
            await within(ask(hosted, 0.3, misbehave="yes"))  # type: ignore[arg-type]
        assert time.monotonic() - began < PATIENCE / 2
        await until(lambda: state(hosted) == ("ready", 1), "another worker is ready")
        assert len(hosted.processes()) == 1

    hosted.run(scenario())
    assert hosted.note() != before


def test_a_model_that_heeds_its_request_s_deadline_costs_no_worker(
    serve: Callable[..., Hosted], tmp_path: Path
) -> None:
    hosted = serve()

    async def scenario() -> None:
        with pytest.raises(DeadlineExceeded):
            await ask(hosted, 0.1, way="wait", name="a")
        await until(lambda: state(hosted) == ("ready", 0), "the same worker is ready")

    hosted.run(scenario())
    assert (tmp_path / "a.told").exists()


def test_a_request_whose_time_passes_in_line_never_runs(serve: Callable[..., Hosted], tmp_path: Path) -> None:
    hosted = serve()

    async def scenario() -> None:
        first = ask(hosted, way="wait", name="a")
        await there(tmp_path / "a.begun")
        late = ask(hosted, 0.05, way="wait", name="b")
        with pytest.raises(DeadlineExceeded, match=r"waited 0\.05 s in line.* and never ran"):
            await late
        assert hosted.pool.describe()["waiting"] == 0
        first.cancel()
        await until(lambda: state(hosted) == ("ready", 0), "the worker is ready")

    hosted.run(scenario())
    assert not (tmp_path / "b.begun").exists()


def test_an_answer_that_is_too_long_is_an_error_and_the_worker_lives_on(serve: Callable[..., Hosted]) -> None:
    hosted = serve(max_response=1000)
    pid = hosted.note()["pid"]
    with pytest.raises(OutputUnwritable, match=r"longer than the 1,000 bytes that --max-response allows\. Return less"):
        hosted.note(way="return_much", name="much")
    assert hosted.note()["pid"] == pid


def test_a_request_may_not_allow_more_than_the_operator(host: Host, tmp_path: Path) -> None:
    limits = PoolLimits(PATIENCE, predict_timeout=0.2)
    hosted = host("heeds_cancellation", environ={"MEETING": str(tmp_path)}, limits=limits).start()

    async def scenario() -> None:
        with pytest.raises(DeadlineExceeded, match=r"longer than 0\.2 s|the 0\.2 s"):
            await ask(hosted, 1000.0, way="ignore", name="a")

    hosted.run(scenario())


def test_who_is_refused_is_told_to_wait_as_long_as_predictions_take(host: Host, tmp_path: Path) -> None:
    hosted = host("heeds_cancellation", environ={"MEETING": str(tmp_path)}, limits=PoolLimits(max_queue=1)).start()
    hosted.pool._line._pace.note(20.0)

    async def scenario() -> None:
        tasks = [ask(hosted, way="wait", name=name) for name in "ab"]
        await there(tmp_path / "a.begun")
        with pytest.raises(QueueFull) as refused:
            hosted.pool.check_admission()
        assert refused.value.retry_after == 40.0
        for task in reversed(tasks):
            task.cancel()
        await until(lambda: state(hosted) == ("ready", 0), "the worker is ready")

    hosted.run(scenario())
