"""Outputs, as they are written down, that are refused (M014) or have a key that nobody knows (M019)."""

import ast
from collections.abc import Iterator

from app.doctor.code.output_dicts import WrittenDict, data_written, keys_added, outputs_written
from app.doctor.code.script import Script
from app.doctor.code.syntax_tree import text_of
from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject
from app.interface.models import FORM_KEYS, FORM_NAMES, OUTPUT_KEYS, OUTPUT_TYPES, form_of
from app.interface.wording import all_of, nearest, quoted, visible

REFUSED = Code("M014", Severity.ERROR, "an output that is refused")
UNKNOWN_KEY = Code("M019", Severity.WARNING, "an output with an unknown key")
CODES = (REFUSED, UNKNOWN_KEY)

_DATA_KEYS = frozenset[str]().union(*FORM_KEYS.values())
_HOW = {
    "study_uid": '"study_uid": str(ds.StudyInstanceUID)',
    "class_index": '"class_index": 0, the number that the project ties to a label',
    "images": '"images": None, or a list of images',
    "type": '"type": "ANNOTATION", or another of the types',
}
_FORMS = (
    '{"x", "y", "width", "height"} for a box, {"mask": rows}, {"vertices": [[x, y], …]}, {"x", "y"} for a location, '
    'or {"start_frame_number", "end_frame_number"}'
)
_CORNERS = 'Write {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}.'


def examine(subject: Subject) -> Iterator[Finding]:
    """Looks at the outputs written in everything that runs when the model predicts."""
    added: set[str] = set()
    for script in subject.own_scripts:
        added |= keys_added(script)
    for script in subject.own_scripts:
        for output in outputs_written(script):
            for code, line, reason, fix in (*_keys(output, added), *_data(script, output, added)):
                yield Finding(code, subject.place(script.file.path, line), reason, fix)


Fault = tuple[Code, int, str, str]


def _keys(output: WrittenDict, added: set[str]) -> Iterator[Fault]:
    line = output.node.lineno
    kind = text_of(output.values.get("type"))
    unknown = {key: nearest(key, OUTPUT_KEYS - output.values.keys()) for key in output.values if key not in OUTPUT_KEYS}
    for key, near in unknown.items():
        where = output.values[key].lineno
        yield UNKNOWN_KEY, where, *_unknown(f"The output has the key {quoted(key)}", near, OUTPUT_KEYS)
    if "type" in output.values and kind is not None and kind not in OUTPUT_TYPES:
        near = next((one for one in OUTPUT_TYPES if one == kind.upper()), None) or nearest(kind, OUTPUT_TYPES)
        reason = f"The output's type is {quoted(kind)}, which is none: it is refused."
        fix = f"Write {near!r}." if near else f"Write one of {all_of([repr(one) for one in OUTPUT_TYPES])}."
        yield REFUSED, output.values["type"].lineno, reason, fix
    model = OUTPUT_TYPES.get(kind or "")
    required = {"type", "study_uid"}
    if model is not None:
        required |= {name for name, field in model.model_fields.items() if field.is_required()}
    if output.is_whole and "*" not in added:
        for key in sorted(required - output.values.keys() - added):
            meant = next((name for name, near in unknown.items() if near == key), None)
            what = f"An output of type {kind}" if kind in OUTPUT_TYPES else "An output"
            reason = f"{what} needs {quoted(key)}, and this one has none: it is refused."
            fix = f"Rename {quoted(meant)} to {quoted(key)}." if meant else f"Add {_HOW.get(key, quoted(key))}."
            yield REFUSED, line, reason, fix
    for key in sorted(required & output.values.keys()):
        value = output.values[key]
        if isinstance(value, ast.Constant) and value.value is None and key not in ("images", "type"):
            reason = f"{quoted(key)} is None, and an output of this type needs it: it is refused."
            yield REFUSED, value.lineno, reason, f"Write {_HOW.get(key, key)}."


def _unknown(what: str, near: str | None, known: frozenset[str]) -> tuple[str, str]:
    reason = f"{what}, which the interface does not know: this server passes it on with a warning, MD.ai's refuses it."
    listed = f"Remove it, or write one of {all_of([quoted(one) for one in sorted(known)])}."
    return reason, f"Write {quoted(near)}." if near else listed


def _data(script: Script, output: WrittenDict, added: set[str]) -> Iterator[Fault]:
    value = output.values.get("data")
    if isinstance(value, ast.List | ast.Tuple | ast.JoinedStr | ast.Set):
        what = {ast.List: "a list", ast.Tuple: "a tuple", ast.Set: "a set"}.get(type(value), "text")
        yield REFUSED, value.lineno, f"The output's data is {what}, not a dict: it is refused.", f"Write {_FORMS}."
    data = data_written(script, output)
    if data is None or not data.is_whole or not data.values or "*" in added:
        return
    keys = data.values.keys()
    line = data.node.lineno
    form = form_of(dict.fromkeys(keys))
    if form is None:
        if not keys & added and not added & _DATA_KEYS:
            listed = all_of([quoted(key) for key in keys])
            reason = f"data has {listed}, which is none of its forms: it is refused."
            yield REFUSED, line, reason, _CORNERS if keys >= {"x1", "y1", "x2", "y2"} else f"Write {_FORMS}."
        return
    needed = FORM_KEYS[form]
    for key in [key for key in keys if key not in needed]:
        near = nearest(key, _DATA_KEYS - keys)
        what = f"data, {FORM_NAMES[form]}, has the key {quoted(key)}"
        yield UNKNOWN_KEY, data.values[key].lineno, *_unknown(what, near, needed)
    missing = sorted(needed - keys - added)
    if missing:
        has = visible(ast.unparse(data.node), 80)
        reason = (
            f"data is {FORM_NAMES[form]} without {all_of([quoted(key) for key in missing])} (`{has}`): it is refused."
        )
        yield REFUSED, line, reason, f"Add {all_of([quoted(key) for key in missing])}. The forms are {_FORMS}."
