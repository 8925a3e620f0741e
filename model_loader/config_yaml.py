"""Read a small YAML file that a stranger wrote: one mapping, with the line of every key.

The pure Python loader is used on purpose. The C loader recurses without a limit, so that a file of opening
brackets ends the whole process; here the same file ends in a sentence.
"""

import codecs
from dataclasses import dataclass
from pathlib import Path

import yaml

from model_loader.errors import ConfigError
from model_loader.package_warning import PackageWarning, place

MAX_BYTES = 64 * 1024
"""Largest file that is read. Configurations have a few lines; parsing time grows with the size."""

_MAX_INTEGER_BITS = 1024
_ADVICE = "Write one `key: value` a line, indented with spaces only."


@dataclass(frozen=True)
class YamlMapping:
    """The top-level mapping of a file.

    `lines` maps a key's path, `("env",)` or `("env", "NAME")`, to its line, counted from 1. Keys that arrive
    through a YAML merge (`<<`) have none.
    """

    values: dict[object, object]
    lines: dict[tuple[str, ...], int]
    warnings: tuple[PackageWarning, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader whose every failure is a YAMLError with a line.

    SafeLoader lets ValueError, IndexError, KeyError and AttributeError escape, for example from `2024-13-45`
    or `!!int ''`, and makes integers from hexadecimal digits that Python then refuses to print.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        try:
            value: object = super().construct_object(node, deep)
            if isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS:
                raise ValueError("integer too large")
            return value
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
            shown = getattr(node, "value", "")
            what = f"{shown[:40]!r} has no meaning" if isinstance(shown, str) else "a value has no meaning"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from error


def read_mapping(path: Path, shown: str) -> YamlMapping:
    """Read `path`; `shown` is how messages call it.

    An empty file is an empty mapping. Raises ConfigError, with the line where there is one, for anything else
    that is not one YAML mapping in UTF-8 of at most MAX_BYTES.
    """
    text = _decode(_read(path, shown), shown)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return YamlMapping({}, {}, ())
        if _weight(root, {}, set()) > 2 * MAX_BYTES:
            raise ConfigError(
                f"{shown} repeats itself through YAML aliases (`*name`) until it is larger than "
                f"{2 * MAX_BYTES} characters. Write the values out.",
                file=shown,
            )
        values = loader.construct_document(root)
    except _AliasCycleError as cycle:
        raise ConfigError(
            f"{shown}, line {cycle.line}: this value holds an alias (`*name`) to itself. Write the value out.",
            file=shown,
            line=cycle.line,
        ) from None
    except yaml.YAMLError as error:
        line, reason = _explain(error, text)
        raise ConfigError(f"{place(shown, line)}: {reason}", file=shown, line=line) from None
    except RecursionError:
        raise ConfigError(f"{shown} nests too deeply. A configuration has two levels.", file=shown) from None
    if values is None:
        return YamlMapping({}, {}, ())
    if not isinstance(values, dict):
        kind = "a list" if isinstance(values, list) else f"only {str(values)[:40]!r}"
        raise ConfigError(
            f"{shown}, line {_line(root)}: found {kind} where `key: value` lines belong, "
            "for example `base_image: py310`.",
            file=shown,
            line=_line(root),
        )
    return YamlMapping(values, _key_lines(root), tuple(_repeated_keys(root, shown, set())))


def _read(path: Path, shown: str) -> bytes:
    try:
        if not path.is_file():
            text = f"{shown} is not a regular file. Put a text file there, or nothing at all."
            raise ConfigError(text, file=shown)
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        text = f"{shown} cannot be read: {error.strerror}. Check its permissions."
        raise ConfigError(text, file=shown) from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(
            f"{shown} is larger than {MAX_BYTES // 1024} kB. A configuration has a few lines; "
            "data belongs in files of its own.",
            file=shown,
        )
    return raw


def _decode(raw: bytes, shown: str) -> str:
    utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return raw.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{shown}, line {line}: the byte 0x{raw[error.start]:02x} is not UTF-8. Save the file as UTF-8.",
            file=shown,
            line=line,
        ) from None


class _AliasCycleError(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


def _weight(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Characters and values below `node` once every alias is written out."""
    key = id(node)
    if key in known:
        return known[key]
    if key in above:
        raise _AliasCycleError(_line(node))
    above.add(key)
    if isinstance(node, yaml.MappingNode):
        weight = 1 + sum(_weight(part, known, above) for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        weight = 1 + sum(_weight(part, known, above) for part in node.value)
    else:
        weight = 1 + len(node.value)
    above.discard(key)
    known[key] = weight
    return weight


def _key_lines(root: yaml.Node) -> dict[tuple[str, ...], int]:
    lines: dict[tuple[str, ...], int] = {}
    for key, value in _pairs(root):
        lines[(key.value,)] = _line(key)
        for inner, _ in _pairs(value):
            lines[(key.value, inner.value)] = _line(inner)
    return lines


def _repeated_keys(node: yaml.Node, shown: str, seen: set[int]) -> list[PackageWarning]:
    if id(node) in seen:
        return []
    seen.add(id(node))
    warnings: list[PackageWarning] = []
    first: dict[tuple[str, str], int] = {}
    for key, value in _pairs(node):
        name = (key.tag, key.value)
        if name in first:
            said = f"{key.value[:40]!r} occurs twice (also on line {first[name]}). The last one counts."
            warnings.append(PackageWarning.at(shown, _line(key), said, kind="repeated key", key=key.value))
        first.setdefault(name, _line(key))
        warnings += _repeated_keys(value, shown, seen)
    return warnings


def _pairs(node: yaml.Node) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        return []
    return [(key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _explain(error: yaml.YAMLError, text: str) -> tuple[int | None, str]:
    """The line, where there is one, and the reason."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        character = chr(int(error.character))
        return line, f"the character {character!r} has no place in YAML. Delete it."
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    at = int(mark.line) + 1 if mark else None
    problem = getattr(error, "problem", None) or "not valid YAML"
    if "'\\t'" in problem:
        return at, "a tab stands where YAML allows only spaces. Replace it by spaces."
    if problem == "mapping values are not allowed here":
        problem = "a colon too many here, or one missing in the line above"
    return at, f"this is not valid YAML ({problem}). {_ADVICE}"
