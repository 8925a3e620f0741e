"""Files in groups and files by their paths, on real workers of the oldest and the newest Python."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from model_loader.errors import DeadlineExceeded, ModelRaised, NotReady
from model_loader.line import PoolLimits
from model_loader.prediction import PredictRequest
from model_loader.shared_buffer import SharedBuffer
from tests.hosting import PATIENCE, Hosted
from tests.interpreters import OLDEST_AND_NEWEST, cache_with_runtimes, interpreter

GROUPS = [[{"content": b"a"}, {"content": b"b"}], [{"content": b"c"}]]


@pytest.fixture(params=OLDEST_AND_NEWEST)
def serve(
    request: pytest.FixtureRequest, host: Callable[..., Hosted], tmp_path: Path, tmp_path_factory: Any
) -> Callable[..., Hosted]:
    """Serves a package, by its name or from its code, on the interpreter."""
    python, cache = interpreter(request.param), cache_with_runtimes(tmp_path, tmp_path_factory)

    def serve(package: str, **options: Any) -> Hosted:
        source: str | Path = package
        if "\n" in package:
            source = tmp_path / "package"
            (source / ".mdai").mkdir(parents=True)
            (source / ".mdai/mdai_deploy.py").write_text(package)
        return host(source, **{"environment": python, "cache": cache} | options).start()

    return serve


class Inputs:
    """Files that were loaded, by their paths; `ended` is set when the worker needs them no more."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        self.folder = folder
        self.ended = asyncio.Event()
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content)

    def hold(self) -> None:
        assert not self.ended.is_set()

    def let_go(self) -> None:
        self.ended.set()


def notes(answer: Any) -> list[str]:
    return [output["note"] for output in answer.outputs]


def test_a_model_with_predict_batch_gets_the_groups_and_predict_the_flat_files(serve: Callable[..., Hosted]) -> None:
    served = serve("takes_groups")
    assert served.predict({"files": GROUPS}).note == {"groups": [["a", "b"], ["c"]]}
    assert served.predict({"files": GROUPS[0]}).note == ["a", "b"]


def test_any_other_model_predicts_group_by_group_in_one_request(serve: Callable[..., Hosted]) -> None:
    served = serve(
        "class MDAIModel:\n"
        "    calls = 0\n"
        "    def predict(self, data):\n"
        "        self.calls += 1\n"
        "        if data['args'].get('at') == str(self.calls):\n"
        "            raise RuntimeError('not this one')\n"
        "        for file in data['files']:\n"
        "            note = '%d %s' % (self.calls, file['content'].decode())\n"
        "            yield {'type': 'NONE', 'study_uid': '1', 'note': note}\n"
    )
    assert notes(served.predict({"files": GROUPS})) == ["1 a", "1 b", "2 c"]
    with pytest.raises(ModelRaised, match="with the files of group 1 raised RuntimeError: not this one"):
        served.predict({"files": GROUPS, "args": {"at": "4"}})
    assert notes(served.predict({"files": GROUPS[:1]})) == ["5 a", "5 b"]


def test_the_deadline_is_for_all_groups_together(serve: Callable[..., Hosted]) -> None:
    served = serve(
        "import signal\nclass MDAIModel:\n    def predict(self, data):\n"
        "        if not data['files']:\n            signal.pause()\n        return []\n",
        limits=PoolLimits(startup_timeout=PATIENCE, predict_timeout=1.0),
    )
    with pytest.raises(DeadlineExceeded):
        served.predict({"files": [*GROUPS, []]})


def test_a_child_that_returns_as_its_parent_does_predicts_for_no_further_group(
    serve: Callable[..., Hosted], tmp_path: Path
) -> None:
    served = serve(
        "import os\nclass MDAIModel:\n    def predict(self, data):\n"
        "        with open(data['args']['journal'], 'a') as journal:\n            journal.write('x')\n"
        "        child = os.fork()\n"
        "        if child:\n            os.waitpid(child, 0)\n"
        "        return [{'type': 'NONE', 'study_uid': '1'}]\n"
    )
    journal = tmp_path / "journal"
    assert len(served.predict({"files": GROUPS, "args": {"journal": str(journal)}}).outputs) == 2
    assert journal.read_text() == "xx"


def test_files_are_read_by_their_paths_and_needed_until_the_worker_has_ended(
    serve: Callable[..., Hosted], tmp_path: Path
) -> None:
    """Though nobody waits for the answer any more."""
    served = serve("takes_groups")
    os.mkfifo(tmp_path / "fifo")
    named = [{"content": None, "content_path": path} for path in ("1/a", "/1/../b")]

    async def ask() -> list[Any]:
        inputs = Inputs(tmp_path / "inputs", {"1/a": "A", "b": "B"})
        seen = []
        with SharedBuffer() as body:
            body.write(msgpack.packb({"files": named}))
            with await served.pool.predict(PredictRequest(body, "msgpack", "test", inputs=inputs)) as prediction:
                seen.append(msgpack.unpackb(prediction.body.read(0, prediction.size))[0]["note"])
        await inputs.ended.wait()
        inputs = Inputs(tmp_path / "inputs", {})
        (inputs.folder / "b").unlink()
        os.mkfifo(inputs.folder / "b")
        with SharedBuffer() as body:
            body.write(msgpack.packb({"files": named}))
            request = asyncio.create_task(served.pool.predict(PredictRequest(body, "msgpack", "test", inputs=inputs)))
            # The model has opened the fifo when this has, too.
            fifo = await asyncio.to_thread((inputs.folder / "b").open, "w")
            request.cancel()
            await asyncio.wait([request])
            seen.append(inputs.ended.is_set())
        fifo.close()
        await inputs.ended.wait()
        return seen

    assert served.run(ask()) == ['["A", "B"]', False]


@pytest.mark.parametrize("parameters", ["self, data", "self, images, size"])
def test_predict_batch_alone_must_be_callable_with_a_request(serve: Callable[..., Hosted], parameters: str) -> None:
    code = f"class MDAIModel:\n    def predict_batch({parameters}):\n        return []\n"
    if parameters == "self, data":
        assert serve(code).predict({"files": GROUPS[0]}).outputs == []
        return
    with pytest.raises(NotReady, match=r"predict_batch takes .* beside self, and the server calls it with one arg"):
        serve(code)
