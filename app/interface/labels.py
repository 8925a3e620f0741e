"""What the platform's documentation asks of an output by the label of its class, checked against the request.

Nobody else checks it, and a public model that breaks a rule works all the same: these are warnings. A label that
does not say enough asks for nothing.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from app.interface.findings import Doubt, Findings
from app.interface.models import FORM_NAMES, form_of
from app.interface.wording import number, quoted

_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class Label(msgspec.Struct, frozen=True):
    """What annotators call a finding, and how they mark it."""

    id: str | None = None
    name: str | None = None
    type: str | None = None
    """"GLOBAL": of a whole instance, series or study. "LOCAL": drawn on an image."""
    scope: str | None = None
    """"INSTANCE", "SERIES", "STUDY" or "EXAM": what a global label is put on."""
    annotation_mode: str | None = None
    """How a local label is drawn: "bbox", "freeform", "polygon", "line", "location", "mask" …"""
    short_name: str | None = None
    description: str | None = None
    parent_id: str | None = None


class LabelClass(msgspec.Struct, frozen=True):
    """One class of the model and the label that the project gave it."""

    class_index: int | None = None
    label: Label | None = None


#: UIDs that an output needs, by the scope of its label.
SCOPE_UIDS = {
    "STUDY": ("study_uid",),
    "EXAM": ("study_uid",),
    "SERIES": ("study_uid", "series_uid"),
    "INSTANCE": ("study_uid", "series_uid", "instance_uid"),
}

#: The form of `data` by annotation mode, squeezed to its letters; other modes ask for nothing.
MODE_FORMS = {
    **dict.fromkeys(("bbox", "box", "boundingbox", "thresholdedbox", "rectangle"), "box"),
    **dict.fromkeys(("freeform", "polygon", "line", "polyline", "vertices"), "vertices"),
    **dict.fromkeys(("location", "point"), "location"),
    **dict.fromkeys(("mask", "segmentation"), "mask"),
    **dict.fromkeys(("videoseriesinterval", "videointerval", "interval"), "video interval"),
}


class _Rule(msgspec.Struct, frozen=True):
    """What one class asks of its outputs."""

    name: str
    uids: tuple[str, ...]
    is_local: bool | None
    mode: str
    form: str | None


class LabelRules:
    """The rules for the outputs of one request; none where neither it nor the package brought label classes."""

    def __init__(self, label_classes: Sequence[LabelClass]) -> None:
        self._rules: dict[int, _Rule] = {}
        for label_class in label_classes:
            if label_class.class_index is not None:
                self._rules.setdefault(label_class.class_index, _rule(label_class))

    @property
    def _known(self) -> str:
        known = [str(index) for index in sorted(self._rules)]
        return ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")

    def doubts(self, output: dict[Any, Any]) -> Iterator[Doubt]:
        """The doubts about one output that the models accepted, in the plain view."""
        index = output.get("class_index")
        if not self._rules or index is None or output.get("type") == "NONE":
            return
        rule = self._rules.get(index)
        if rule is None:
            yield Doubt(
                "no class",
                f"class_index is not among the label classes, {self._known}",
                number(index),
            )
            return
        for key in rule.uids:
            if output.get(key) is None:
                yield Doubt((index, key), f"{key} is missing", fix=f"{rule.name} needs it")
        if output["type"] == "ANNOTATION" and rule.is_local is not None:
            yield from _data_doubts(rule, index, output.get("data"))


def _rule(label_class: LabelClass) -> _Rule:
    label = label_class.label or Label()
    kind, scope, mode = ((text or "").strip() for text in (label.type, label.scope, label.annotation_mode))
    is_local = {"LOCAL": True, "GLOBAL": False}.get(kind.upper())
    facts = ", ".join(filter(None, (kind.upper(), f"scope {scope.upper()}" if scope else "", mode)))
    name = f"the label of class {label_class.class_index}" + (f" ({facts[:80]})" if facts else "")
    uids = SCOPE_UIDS["INSTANCE" if is_local else scope.upper()] if is_local or scope.upper() in SCOPE_UIDS else ()
    letters = "".join(char for char in mode.lower() if char.isalpha())
    return _Rule(name=name, uids=uids, is_local=is_local, mode=mode, form=MODE_FORMS.get(letters))


def _data_doubts(rule: _Rule, index: int, data: Any) -> Iterator[Doubt]:
    if not rule.is_local:
        if data:
            yield Doubt((index, "global"), "data is given", fix=f"{rule.name} is not drawn, so leave it out")
        return
    if not data:
        yield Doubt((index, "no data"), "data is missing", fix=f"{rule.name} is drawn, so give it a form")
        return
    form = form_of(data)
    if rule.form and form and form != rule.form:
        fix = f"{rule.name} is drawn as {quoted(rule.mode)}, with {FORM_NAMES[rule.form]}"
        yield Doubt((index, form), f"data holds {FORM_NAMES[form]}", fix=fix)


def packaged_label_classes(label_classes: Sequence[dict[str, Any]]) -> tuple[LabelClass, ...]:
    """The label classes that a package brings for requests without."""
    return msgspec.convert(label_classes, tuple[LabelClass, ...])


def read_label_classes(content: memoryview) -> tuple[tuple[LabelClass, ...], list[str]]:
    """The label classes in a msgpack list, and warnings about the entries that take no part in the rules.

    The model gets all of them as they were sent, whatever becomes of them here.
    """
    try:
        return msgspec.msgpack.decode(content, type=tuple[LabelClass, ...]), []
    except _UNREADABLE:
        pass
    found, doubts = [], Findings("label_classes")
    try:
        entries = msgspec.msgpack.decode(content, type=list[msgspec.Raw])
    except _UNREADABLE as error:
        return (), [f"label_classes takes no part in the label rules: {_complaint(error)}."]
    for index, entry in enumerate(entries):
        try:
            found.append(msgspec.msgpack.decode(entry, type=LabelClass))
        except _UNREADABLE as error:
            complaint = _complaint(error)
            doubts.add(index, Doubt(complaint, f"takes no part in the label rules: {complaint}"))
    return tuple(found), list(doubts.as_doubts())


def _complaint(error: Exception) -> str:
    """msgspec's "Expected `str | null`, got `int` - at `$.label.scope`" in the words of the other texts."""
    parts = re.match(r"Expected `([^`]*)`, got `([^`]*)`(?: - at `\$\.([^`]*)`)?$", str(error))
    if parts is None:
        return "it cannot be decoded"
    expected, found, where = parts.groups()
    words = {"object": "map", "array": "list", "None": "null", "|": "or"}
    expected = " ".join(words.get(word, word) for word in expected.split())
    return f"{where or 'it'} is {words.get(found, found)}, not {expected}"
