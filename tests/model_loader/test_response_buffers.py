"""What long answers lie in: held by nobody who is idle, and renewed where a package has closed it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from model_loader import memory_file
from model_loader.errors import OutputUnwritable, PredictFailed
from model_loader.line import PoolLimits
from tests.hosting import PATIENCE, Hosted

LONG = 3_000_000

PACKAGE = """
import os

def is_shared(descriptor):
    try:
        return os.readlink("/proc/self/fd/%d" % descriptor).startswith("/memfd:")
    except FileNotFoundError:
        return False

class Forks(list):
    def __del__(self):
        self.child = os.fork()
        if self.child:
            os.waitpid(self.child, 0)

class MDAIModel:
    def __init__(self):
        self.mine = []

    def predict(self, data):
        args = data["args"]
        if args.get("close"):
            shared = [number for number in map(int, os.listdir("/proc/self/fd")) if is_shared(number)]
            for number in shared:
                os.close(number)
            if args["close"] != "only":
                self.mine = [os.dup2(os.open(args["close"], os.O_RDWR), number) for number in shared]
        for number in self.mine:
            assert not is_shared(number), "somebody closed or replaced a descriptor of the package's"
        if args.get("raise"):
            raise ValueError("not this one")
        note = "x" * args.get("length", 0)
        if args.get("set"):
            return [{"note": note}, {"note": {1}}]
        outputs = [{"note": note, "process": os.getpid()}]
        return Forks(outputs) if args.get("fork") else outputs
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    (folder / ".mdai").mkdir(parents=True)
    (folder / ".mdai" / "mdai_deploy.py").write_text(PACKAGE)
    return folder


def ask(service: Hosted, **args: object) -> dict[str, object]:
    output: dict[str, object] = service.predict({"files": [], "args": args}).outputs[0]
    return output


def held() -> int:
    """Bytes in all shared buffers of this process, without the few of each worker's notice."""
    sizes = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            if str(descriptor.readlink()).startswith("/memfd:mdai-model"):
                sizes.append(descriptor.stat().st_size)
        except OSError:  # the one that reads this folder
            continue
    return sum(size for size in sizes if size > 64)


@pytest.mark.parametrize("then", [{}, {"raise": True}, {"length": LONG, "set": True}, {"length": 2 * LONG}])
def test_an_idle_worker_holds_no_memory_whatever_its_last_answer_was(
    host: Callable[..., Hosted], package: Path, monkeypatch: pytest.MonkeyPatch, then: dict[str, object]
) -> None:
    limits = PoolLimits(startup_timeout=PATIENCE, predict_timeout=PATIENCE, max_response=LONG + 1000)
    service = host(package, limits=limits).start()
    assert len(str(ask(service, length=LONG)["note"])) == LONG
    if then:
        with pytest.raises(PredictFailed):
            ask(service, **then)
    else:
        ask(service)
    monkeypatch.setattr(memory_file, "KEPT_SECONDS", 0.01)
    ask(service)
    service.until(lambda: not held(), "nothing of the answers is held")


@pytest.mark.parametrize("replaced", [False, True], ids=["closed", "replaced"])
def test_a_package_that_closes_what_its_answers_lie_in_loses_one_of_them_and_gets_another(
    host: Callable[..., Hosted], package: Path, tmp_path: Path, *, replaced: bool
) -> None:
    """Nothing is written into a file of its own that has the number now, nor is that one closed."""
    own = tmp_path / "own"
    own.write_bytes(b"its own")
    service = host(package).start()
    request = "x" * 100_000  # lies in a shared buffer, too
    process = ask(service, length=LONG, request=request)["process"]
    with pytest.raises(OutputUnwritable, match=r"closed a descriptor that it did not open.* only what it opened\."):
        ask(service, length=LONG, request=request, close=str(own) if replaced else "only")
    for _ in range(3):
        answer = ask(service, length=LONG, request=request)
        assert (len(str(answer["note"])), answer["process"]) == (LONG, process)
    assert own.read_bytes() == b"its own"


def test_a_child_forked_as_outputs_are_freed_neither_answers_nor_complains(
    host: Callable[..., Hosted], package: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = host(package).start()
    caplog.set_level("INFO")
    assert ask(service, fork=True)["process"] == ask(service)["process"] != os.getpid()
    assert "channel" not in caplog.text
