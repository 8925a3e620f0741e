"""Outputs as a model writes them down: dicts with "type", "study_uid" and so on, and their `data`."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from app.doctor.code.script import Script
from app.doctor.code.syntax_tree import text_of
from app.interface.models import OUTPUT_KEYS, OUTPUT_TYPES

_NAMED_AS_OUTPUT = re.compile(r"out|res|ann|item|entry|finding|^.$", re.IGNORECASE)
_OF_OUTPUTS = OUTPUT_KEYS - {"type", "data", "note"}


@dataclass(frozen=True, eq=False)
class WrittenDict:
    """A dict with known keys. `is_whole`: no `**…` adds others."""

    node: ast.Dict | ast.Call
    values: dict[str, ast.expr]
    is_whole: bool


def written_dict(node: ast.AST | None) -> WrittenDict | None:
    """A dict display or a call of `dict` whose keys can be read; None for anything else."""
    match node:
        case ast.Dict(keys=keys, values=values):
            texts = [text_of(key) for key in keys]
            found = {text: value for text, value in zip(texts, values, strict=True) if text is not None}
            return WrittenDict(node, found, all(text is not None for text in texts))
        case ast.Call(func=ast.Name(id="dict"), args=args, keywords=keywords):
            found = {one.arg: one.value for one in keywords if one.arg is not None}
            return WrittenDict(node, found, not args and all(one.arg is not None for one in keywords))
    return None


def outputs_written(script: Script) -> Iterator[WrittenDict]:
    """The dicts among what runs that are outputs without doubt: a type, and what else only outputs have."""
    for node in script.nodes:
        written = written_dict(node)
        if written is not None and _is_output(written.values):
            yield written


def _is_output(values: dict[str, ast.expr]) -> bool:
    keys = values.keys()
    if "type" in keys:
        kind = text_of(values["type"])
        if kind is None:
            return len(keys & _OF_OUTPUTS) > 1
        is_kind = kind.upper() in OUTPUT_TYPES or (kind.isupper() and bool(keys & {"study_uid", "class_index"}))
        return is_kind and bool(keys & _OF_OUTPUTS)
    uids = {"study_uid", "series_uid", "instance_uid"}
    return bool(keys & uids) and bool(keys & {"class_index", "probability", "explanations"})


def data_written(script: Script, output: WrittenDict) -> WrittenDict | None:
    """The dict that an output has as its `data`, where it can be seen: in place, or under a name that is bound once."""
    value = output.values.get("data")
    return None if value is None else written_dict(script.resolved(value))


def _may_be_output(script: Script, node: ast.expr) -> bool:
    """Whether `node[key] = …` may change an output: most of what is set by a computed index is an array."""
    if not isinstance(node, ast.Name):
        return False
    bound = script.bindings(script.scope_of(node)).get(node.id, [])
    return any(isinstance(value, ast.Dict) for value in bound) or bool(_NAMED_AS_OUTPUT.search(node.id))


def keys_added(script: Script) -> set[str]:
    """Keys that the file sets in any dict; "*" where it cannot be told which."""
    added = set()
    for node in script.nodes:
        match node:
            case ast.Subscript(value=changed, slice=index, ctx=ast.Store()):
                added.add(text_of(index) or ("*" if _may_be_output(script, changed) else ""))
            case ast.Call(func=ast.Attribute(attr="update"), args=args, keywords=keywords):
                added.update(one.arg or "*" for one in keywords)
                for argument in args:
                    written = written_dict(argument)
                    added.update(written.values if written is not None else ["*"])
            case ast.Call(func=ast.Attribute(attr="setdefault"), args=[key, *_]):
                added.add(text_of(key) or "*")
            case ast.Call(func=ast.Name(id="dict"), args=args, keywords=keywords):
                if args or any(one.arg is None for one in keywords):
                    added.add("*")
            case ast.BinOp(op=ast.BitOr(), left=changed) | ast.AugAssign(op=ast.BitOr(), target=changed):
                added.update(["*"] if _may_be_output(script, changed) else [])
            case ast.Dict(keys=keys) if None in keys:
                added.add("*")  # it may be made of an output that was written elsewhere
    return added
