"""What is said about the answer to one request, and how the same fault of many outputs becomes one sentence."""

from collections.abc import Hashable
from dataclasses import dataclass

from app.doctor.finding import Code
from app.doctor.run.inputs import TrialRequest
from app.interface.wording import count_of


@dataclass(frozen=True)
class Answer:
    """What the model answered to a request: the response as msgpack, and the worker's picture of it."""

    request: TrialRequest
    body: bytes
    skeleton: bytes


@dataclass(frozen=True)
class Remark:
    """A finding about one answer. With the same `key`, it is the same about another answer."""

    code: Code
    key: Hashable
    reason: str
    fix: str


class Tally:
    """Counts the outputs in which something is wrong and keeps what was found in the first."""

    def __init__(self) -> None:
        self.count = 0
        self._first = ""

    def add(self, index: int, found: str) -> None:
        """Output number `index` is one of them; `found` is the rest of a sentence about it, without its end."""
        if not self.count:
            self._first = f"outputs[{index}]: {found}"
        self.count += 1

    def sentence(self, total: int) -> str:
        """What was found, and in how many of `total` outputs."""
        if self.count == 1:
            return f"In {self._first}."
        return f"In {self.count:,} of {count_of(total, 'output')}, first {self._first}."
