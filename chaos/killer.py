"""Ends workers from outside, one thread for each, and measures how long it takes until another is ready."""

import random
import signal
import threading
import time
from collections import defaultdict
from typing import Any

from chaos.service import Service

#: How often each, of a hundred. SIGKILL is also what the kernel's OOM killer sends.
SIGNALS = {
    signal.SIGKILL: 60,
    signal.SIGSEGV: 15,
    signal.SIGABRT: 5,
    signal.SIGTERM: 8,
    signal.SIGSTOP: 6,
    signal.SIGBUS: 6,
}


class Killer(threading.Thread):
    """Ends the worker of one slot again and again; `recovered` has seconds until ready again, by signal."""

    def __init__(self, slot: int, service: Service, seed: int, pause: float, done: threading.Event) -> None:
        super().__init__(name=f"killer-{slot}")
        self._slot = slot
        self._service = service
        self._random = random.Random(seed * 77 + slot)
        self._pause = pause
        self._done = done
        self.kills = 0
        self.recovered: dict[str, list[float]] = defaultdict(list)
        self.states: dict[str, int] = defaultdict(int)

    def run(self) -> None:
        while not self._done.wait(self._random.random() * 2 * self._pause):
            worker = self._worker()
            if "pid" not in worker or worker["state"] in ("dead", "stopping"):
                continue
            number = self._random.choices(list(SIGNALS), list(SIGNALS.values()))[0]
            if number == signal.SIGSTOP and worker["state"] == "starting":
                continue  # that takes the whole --startup-timeout
            if self._service.send_signal(worker["pid"], number):
                self.kills += 1
                self.states[worker["state"]] += 1
                self._wait_for_another(worker["worker"], number)

    def _worker(self) -> dict[str, Any]:
        return self._service.workers()[self._slot]

    def _wait_for_another(self, before: int, number: int) -> None:
        began = time.monotonic()
        while time.monotonic() - began < 90:
            worker = self._worker()
            if worker.get("worker", before) != before and worker["state"] in ("ready", "busy"):
                self.recovered[signal.Signals(number).name].append(time.monotonic() - began)
                return
            if self._done.wait(0.02):
                return
        self.recovered["never"].append(90.0)
