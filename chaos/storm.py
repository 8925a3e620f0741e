"""One run from the first request to the last process: the storm itself, and what is compared before and after."""

import math
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from chaos.clients import Client, Seen
from chaos.faults import RIGHT
from chaos.killer import Killer
from chaos.leftovers import Held, held_at_rest, held_by, memory_of, traced, waited_for_a_core
from chaos.service import Service, wait_for

_CLIENTS = 10
_MINUTE = 60.0
#: Memory is compared where there is something to compare.
_SHORTEST_FOR_MEMORY = 180.0
_HEALTH_LIMIT = 0.050
_MEMORY_GROWTH = 1.10


@dataclass(frozen=True)
class Plan:
    """How long, how wild: it ends after `kills` workers ended from outside, or `seconds`, whichever is first.

    `pause` is the mean time in seconds between a worker's being ready again and its next end. Where `judges_time`
    is false, the times of `/healthz` are told and not judged.
    """

    kills: int
    seconds: float
    pause: float
    seed: int
    judges_time: bool


@dataclass
class Run:
    """Everything that was seen."""

    plan: Plan
    seen: Seen = field(default_factory=Seen)
    calm: Seen = field(default_factory=Seen)
    recovered: dict[str, list[float]] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    restarts: int = 0
    seconds: float = 0.0
    health: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    #: Seconds that the server's main thread ran, and that it waited for a core.
    ran: float = 0.0
    waited: float = 0.0
    before: Held | None = None
    after: Held | None = None
    #: One sentence for each invariant that did not hold.
    broken: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)

    def check(self, promise: str, found: object, *, holds: bool) -> None:
        if holds:
            self.held.append(f"{promise} ({found})")
        else:
            self.broken.append(f"{promise}: {found}")


def run(plan: Plan, folder: Path, say: Callable[[str], None]) -> Run:
    """The whole of it, in `folder`; `say` is told how far it is."""
    result = Run(plan)
    with _threads_that_fail_told(result):
        _run(plan, folder, say, result)
    _judge(result)
    return result


def _run(plan: Plan, folder: Path, say: Callable[[str], None], result: Run) -> None:
    service = Service(folder)
    try:
        service.wait_until_ready()
        _warm_up(service, plan)
        result.before = held_at_rest(service.pid, service.temp)
        say(f"the storm begins on port {service.port}")
        _storm(service, result, say)
        _renew_workers(service, result)
        _calm(service, result)
        _compare(service, result)
    except (TimeoutError, OSError, RuntimeError) as error:
        result.broken.append(f"the service answers until the end: {type(error).__name__}: {error}\n{service.log}")
    finally:
        code = service.end()
    result.check("SIGTERM ends it with exit code 0", f"it was {code}", holds=code == 0)
    _nothing_left(service, result, "after SIGTERM")
    files = [str(path) for path in service.temp.rglob("*")]
    result.check("no temporary file stays", f"{len(files)} {files[:5]}", holds=not files)
    failures = service.own_failures
    result.check("the server's log tells of no failure of its own", failures[:3], holds=not failures)
    say("and now the server itself is killed")
    _kill_server(folder, plan, result)


def _warm_up(service: Service, plan: Plan) -> None:
    """Grow what grows once: pools of threads, caches; each worker has been ended once."""
    with _clients(service, Seen(), plan.seed + 1, misbehave=False, count=20):
        time.sleep(2)
        for worker in service.workers():
            service.send_signal(worker["pid"], signal.SIGKILL)
        time.sleep(1)
    service.wait_until_ready()


def _storm(service: Service, result: Run, say: Callable[[str], None]) -> None:
    plan, done = result.plan, threading.Event()
    killers = [Killer(slot, service, plan.seed, plan.pause, done) for slot in range(len(service.workers()))]
    ran, waited = waited_for_a_core(service.pid)
    began = told = time.monotonic()
    with _probing(service, result), _clients(service, result.seen, plan.seed, misbehave=True):
        for killer in killers:
            killer.start()
        while sum(killer.kills for killer in killers) < plan.kills and time.monotonic() - began < plan.seconds:
            time.sleep(1)
            result.memory.append((time.monotonic() - began, memory_of(service.pid)))
            result.load.append(os.getloadavg()[0])
            if service.process.poll() is not None:
                result.broken.append(f"the server lives: it ended with {service.process.returncode}")
                break
            if time.monotonic() - told > _MINUTE / 2:
                told = time.monotonic()
                kills = sum(killer.kills for killer in killers)
                say(f"{told - began:.0f} s: {kills} kills, {result.seen.requests} requests")
        done.set()
        for killer in killers:
            killer.join()
    result.seconds = time.monotonic() - began
    if service.process.poll() is None:
        now_ran, now_waited = waited_for_a_core(service.pid)
        result.ran, result.waited = now_ran - ran, now_waited - waited
    result.kills = sum(killer.kills for killer in killers)
    for killer in killers:
        result.states.update(killer.states)
        for name, times in killer.recovered.items():
            result.recovered.setdefault(name, []).extend(times)


def _renew_workers(service: Service, result: Run) -> None:
    """End the workers of the storm, so that only what outlives a worker is left."""
    _leave_things_behind(service, result)
    old = {worker.get("worker") for worker in service.workers()}
    wait_for(lambda: all("pid" in worker for worker in service.workers()), 90)
    for worker in service.workers():
        service.send_signal(worker["pid"], signal.SIGKILL)
    wait_for(lambda: not old & {worker.get("worker", 0) for worker in service.workers()}, 90)
    service.wait_until_ready()
    result.restarts = sum(worker["restarts"] for worker in service.workers())


def _leave_things_behind(service: Service, result: Run) -> None:
    """However short the storm was, there is something that must go with the workers."""
    service.wait_until_ready()
    client = Client(0, service.port, result.seen, result.plan.seed, threading.Event(), misbehaves=True)
    for fault in ("leaves_children", "leaves_children", "leaves_nameless_child", "leaves_files", "leaks_descriptors"):
        wait_for(lambda fault=fault: client.ask_for(fault) == RIGHT, 30)  # type: ignore[misc]


def _calm(service: Service, result: Run) -> None:
    """After the storm every request is answered rightly."""
    with _clients(service, result.calm, result.plan.seed + 2, misbehave=False, count=4):
        wait_for(lambda: result.calm.requests >= 100, 60)
    outcomes = dict(result.calm.outcomes[""])
    result.check("after the storm every request is answered rightly", outcomes, holds=set(outcomes) == {RIGHT})
    service.wait_until_ready()


def _compare(service: Service, result: Run) -> None:
    before = result.before
    assert before
    spare = min(32, (os.cpu_count() or 1) + 4)  # the size of the event loop's pool of threads
    with suppress(TimeoutError):
        wait_for(lambda: held_by(service.pid, service.temp).descriptors == before.descriptors, 30)
    after = result.after = held_by(service.pid, service.temp)
    same = after.descriptors == before.descriptors
    found = f"{sum(after.descriptors.values())}" if same else f"{before.descriptors} became {after.descriptors}"
    result.check("descriptors and shared memory are back where they were", found, holds=same)
    most = len(service.workers())
    result.check("a worker keeps one empty file at most", after.empty_files, holds=after.empty_files <= most)
    threads = f"{before.threads} before, {after.threads} after"
    result.check("threads are back where they were", threads, holds=after.threads <= before.threads + spare)
    count = len(after.temp_files)
    files = f"{len(before.temp_files)} before, {count} after"
    result.check("temporary files are back where they were", files, holds=count <= len(before.temp_files))
    pids = {worker["pid"] for worker in service.workers()}
    marked = {pid: command for pid, command in _marked(service).items() if pid not in pids | {service.pid}}
    strays = [command for command in marked.values() if "orphans.py" not in command]
    result.check("no process but the server, its keeper and its workers", strays, holds=not strays)
    nameless = len(traced(service.trace)) - len(_marked(service))
    result.held.append(f"children without any mark that live until the server ends: {nameless}")


def _nothing_left(service: Service, result: Run, when: str) -> None:
    with suppress(TimeoutError):
        wait_for(lambda: not traced(service.trace), 10)
    left = traced(service.trace)
    result.check(f"no process is left {when}", list(left.values())[:5], holds=not left)
    for pid in left:
        os.kill(pid, signal.SIGKILL)


def _kill_server(folder: Path, plan: Plan, result: Run) -> None:
    service = Service(folder)
    try:
        service.wait_until_ready()
        with _clients(service, Seen(), plan.seed + 3, misbehave=True):
            time.sleep(3)
            service.end(signal.SIGKILL)
    finally:
        service.end(signal.SIGKILL)
    with suppress(TimeoutError):
        wait_for(lambda: not _marked(service), 10)
    left = _marked(service)
    result.check("SIGKILL of the server leaves no worker and no child", list(left.values()), holds=not left)
    for pid in traced(service.trace):
        os.kill(pid, signal.SIGKILL)


def _marked(service: Service) -> dict[int, str]:
    """What is left but for children with a cleared environment, which nothing tells from other people's."""
    found = {}
    for pid, command in traced(service.trace).items():
        try:
            if Path(f"/proc/{pid}/environ").read_bytes():
                found[pid] = command
        except OSError:
            continue
    return found


def _judge(result: Run) -> None:
    seen = result.seen
    wrong = seen.violations[:5]
    result.check("one answer for each request, the right one or an honest error", wrong or "all", holds=not wrong)
    never = len(result.recovered.get("never", []))
    result.check("a worker that ended is ready again", f"{never} were not", holds=not never)
    times = [value for value in result.health if not math.isnan(value)]
    lost = len(result.health) - len(times)
    result.check("/healthz always answers 200", f"{len(times)} times, {lost} times not", holds=not lost)
    p99 = percentile(times, 99)
    text = f"{p99 * 1000:.1f} ms"
    if result.plan.judges_time:
        result.check("/healthz, 99th percentile, under 50 ms", text, holds=p99 < _HEALTH_LIMIT)
    first, last = memory_of_run(result)
    if result.seconds >= _SHORTEST_FOR_MEMORY:
        grown = f"{first / 1e6:.1f} MB, then {last / 1e6:.1f} MB"
        result.check("memory stays within 10 % of the first minute's", grown, holds=last <= first * _MEMORY_GROWTH)


def memory_of_run(result: Run) -> tuple[float, float]:
    """Median bytes of the first minute and of the last."""
    if not result.memory:
        return 0.0, 0.0
    first = [held for at, held in result.memory if at < _MINUTE]
    last = [held for at, held in result.memory if at >= result.memory[-1][0] - _MINUTE]
    return statistics.median(first or last), statistics.median(last)


def percentile(values: list[float], number: int) -> float:
    """Nearest rank; nan for no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * number // 100)] if ordered else float("nan")


@contextmanager
def _threads_that_fail_told(result: Run) -> Iterator[None]:
    """A caller or killer that ends early would make everything look well."""

    def tell(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else "a thread"
        result.broken.append(
            f"callers and killers go on until the end: {name}: {args.exc_type.__name__}: {args.exc_value}"
        )

    usual, threading.excepthook = threading.excepthook, tell
    try:
        yield
    finally:
        threading.excepthook = usual


@contextmanager
def _clients(service: Service, seen: Seen, seed: int, *, misbehave: bool, count: int = _CLIENTS) -> Iterator[None]:
    done = threading.Event()
    clients = [Client(number, service.port, seen, seed, done, misbehaves=misbehave) for number in range(count)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        done.set()
        for client in clients:
            client.join()


@contextmanager
def _probing(service: Service, result: Run) -> Iterator[None]:
    command = [sys.executable, "-m", "chaos.health", str(service.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as probe:
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(probe.stdout or ()))
        reader.start()
        try:
            yield
        finally:
            assert probe.stdin
            probe.stdin.close()
            reader.join()
    for line in lines:
        taken, late = line.split()
        result.health.append(float(taken))
        result.lateness.append(float(late))
