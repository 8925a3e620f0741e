"""Keys that the model reads of the request and nobody sends (M005, M017), or nobody but this server (M006)."""

import ast
from collections.abc import Iterator

from app.doctor.code.model_class import model_class
from app.doctor.code.request_flow import CONTRACT, Read, RequestFlow, request_flow
from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject
from app.interface.wording import all_of, nearest, quoted

UNKNOWN_KEY = Code("M005", Severity.ERROR, "reads a key that no request has")
LEGACY_INSTANCES = Code("M006", Severity.WARNING, "reads the request as version 0.1 had it")
NEVER_THERE = Code("M017", Severity.WARNING, "asks for a key that is never there")
CODES = (UNKNOWN_KEY, LEGACY_INSTANCES, NEVER_THERE)

_OWNERS = {
    "data": "the request",
    "file": "a file",
    "annotation": "an annotation",
    "label_class": "a label class",
    "label": "a label",
    "instance": "an instance of version 0.1",
}
#: Names that a key has had, or has in other places, by the part of the request that is read.
_FORMER = {
    ("file", "content_uids"): "dicom_tags",
    ("file", "tags"): "dicom_tags",
    ("file", "file"): "content",
    ("file", "bytes"): "content",
    ("file", "data"): "content",
    ("file", "mime_type"): "content_type",
    ("file", "type"): "content_type",
    ("data", "images"): "files",
    ("data", "labels"): "label_classes",
    ("data", "arguments"): "args",
    ("data", "params"): "args",
    ("label_class", "name"): "label",
}


def examine(subject: Subject) -> Iterator[Finding]:
    """Follows the request from `predict` through the functions of the same file."""
    model = model_class(subject)
    flow = request_flow(model) if model is not None else None
    if flow is None:
        return
    changed = flow.changed()
    is_asked_both = any(read.key == "files" and read.part == "data" for read in flow.reads())
    said = set()
    for read in flow.reads():
        known = {key for part, key in changed if part == read.part}
        if read.key == "instances" and read.part == "data":
            if not ((read.has_default or read.is_guarded) and is_asked_both) and read.key not in said:
                said.add(read.key)
                yield _legacy(subject, flow, read)
        elif read.key not in CONTRACT[read.part] and not read.is_guarded and not known & {"*", read.key}:
            yield _unknown(subject, flow, read)


def _unknown(subject: Subject, flow: RequestFlow, read: Read) -> Finding:
    keys = [key for key in CONTRACT[read.part] if key != "instances"]
    owner = _OWNERS[read.part]
    near = _FORMER.get((read.part, read.key)) or nearest(read.key, keys)
    written = ast.unparse(read.node)
    place = subject.place(flow.script.file.path, read.node.lineno)
    fix = f"Write {quoted(near)}, if that is what is meant; " if near else "Read one of these; "
    fix += f"{owner} has {all_of([quoted(key) for key in keys])}."
    if read.part in ("data", "file"):
        fix += " What a user sets comes in data['args']."
    if read.has_default:
        reason = f"{written} asks for a key that {owner} never has: it always takes the other way."
        return Finding(NEVER_THERE, place, reason, fix)
    reason = f"{written} reads a key that {owner} does not have, so predict ends with KeyError: {quoted(read.key)}."
    return Finding(UNKNOWN_KEY, place, reason, fix)


def _legacy(subject: Subject, flow: RequestFlow, read: Read) -> Finding:
    place = subject.place(flow.script.file.path, read.node.lineno)
    reason = (
        f"{ast.unparse(read.node)} is how version 0.1 of the interface had the files. This server still makes it from "
        "them; MD.ai's servers of versions 0.3 and 0.4 send no such key, and there predict ends with a KeyError."
    )
    fix = (
        "Loop over data['files'] instead: file['content'] for instance['file'], and for instance['tags'] the dataset "
        "itself, such as str(ds.StudyInstanceUID) (file['dicom_tags'] for images that are no DICOM)."
    )
    return Finding(LEGACY_INSTANCES, place, reason, fix)
