"""Collects what is found about many outputs, and says a thing once however many outputs it is true of."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from app.interface.wording import indices, sentence_of

#: Kinds of findings that are told apart; more of them are only counted.
MOST_KINDS = 200
_PLACES_NAMED = 3


class Fault(NamedTuple):
    """Something for which outputs are refused."""

    key: Hashable
    """What makes two faults the same but for the output they are in."""
    text: str
    """The rest of a sentence that begins with `outputs[3]`."""


class Doubt(NamedTuple):
    """Something that is passed on although it is surely a mistake."""

    key: Hashable
    text: str
    """A sentence about an output, true of every output with the same `key`. It quotes nothing of a patient's."""
    sample: str = ""
    """The value in question."""
    fix: str = ""


class DoubtGroup(NamedTuple):
    """A doubt and all the outputs that it is about."""

    key: Hashable
    text: str
    """A sentence that names them."""
    fix: str
    """What to do, without a capital or a full stop; "" where the text says it."""
    first: int
    """The first output."""


@dataclass
class _Group:
    text: str
    sample: str
    fix: str
    places: list[int] = field(default_factory=list)
    total: int = 0


class Findings:
    """Findings of one severity, grouped, in the order in which they were first met.

    `subscript` writes the number of a place behind the name.
    """

    def __init__(self, name: str = "outputs", subscript: Callable[[int], str] = "[{}]".format) -> None:
        self._name = name
        self._subscript = subscript
        self._groups: dict[Hashable, _Group] = {}
        self._beyond = 0

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, place: int, finding: Fault | Doubt) -> None:
        """Note `finding` about the output (or file, or label class) number `place`."""
        group = self._groups.get(finding.key)
        if group is None:
            if len(self._groups) >= MOST_KINDS:
                self._beyond += 1
                return
            sample, fix = (finding.sample, finding.fix) if isinstance(finding, Doubt) else ("", "")
            group = self._groups[finding.key] = _Group(finding.text, sample, fix)
        if len(group.places) <= _PLACES_NAMED:
            group.places.append(place)
        group.total += 1

    def as_faults(self, most: int = 10) -> str:
        """One sentence per kind with the first place in full; at most `most` of them, and how many more there are."""
        lines = [self._fault(group) for group in list(self._groups.values())[:most]]
        more = max(0, len(self._groups) - most) + self._beyond
        return "\n".join([*lines, f"And {more:,} more."] if more else lines)

    def as_doubts(self, most: int = 20) -> tuple[str, ...]:
        """One sentence per kind with all its places; at most `most` of them, and how many more there are."""
        lines = [self._doubt(group) for group in list(self._groups.values())[:most]]
        more = max(0, len(self._groups) - most) + self._beyond
        return (*lines, f"There are {more:,} more warnings.") if more else tuple(lines)

    def doubt_groups(self) -> tuple[DoubtGroup, ...]:
        """The doubts by kind, in the order in which they were first met."""
        return tuple(
            DoubtGroup(key, self._doubt(replace(group, fix="")), group.fix, group.places[0])
            for key, group in self._groups.items()
        )

    def _fault(self, group: _Group) -> str:
        sentence = sentence_of(f"{self._name}{self._subscript(group.places[0])}{group.text}")
        if group.total == 1:
            return sentence
        others = indices(self._name, group.places[1:_PLACES_NAMED], group.total - 1, self._subscript)
        return f"{sentence} The same is wrong in {others}."

    def _doubt(self, group: _Group) -> str:
        where = indices(self._name, group.places[:_PLACES_NAMED], group.total, self._subscript)
        sample = f" ({group.sample}{' in the first' if group.total > 1 else ''})" if group.sample else ""
        return sentence_of(f"{where}: {group.text}{sample}{': ' + group.fix if group.fix else ''}")
