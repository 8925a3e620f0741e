"""Outputs that are refused as they are written, and keys that nobody knows."""

from pathlib import Path

import pytest

from app.doctor.code.output_keys import examine
from tests.doctoring import examined, found_in, predicting

UIDS = "'study_uid': '1', 'series_uid': '2', 'instance_uid': '3'"


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (f"{{'type': 'ANOTATION', {UIDS}, 'class_index': 0}}", "Write 'ANNOTATION'."),
        (f"{{'type': 'annotation', {UIDS}, 'class_index': 0}}", "Write 'ANNOTATION'."),
        (f"{{'type': 'ANNOTATION', {UIDS}}}", 'Add "class_index"'),
        ("{'type': 'ANNOTATION', 'series_uid': '2', 'class_index': 0}", 'Add "study_uid"'),
        (f"{{'type': 'IMAGE', {UIDS}, 'class_index': 0}}", 'Add "images"'),
        (f"{{{UIDS}, 'class_index': 0, 'probability': 0.5}}", 'Add "type"'),
        (f"{{'type': 'ANNOTATION', {UIDS}, 'class_index': None}}", 'Write "class_index"'),
        (f"{{'type': 'ANNOTATION', {UIDS}, 'class_index': 0, 'data': [1, 2]}}", "for a box"),
        (f"{{'type': 'ANNOTATION', {UIDS}, 'class_index': 0, 'data': {{'x1': 1, 'x2': 2}}}}", "for a box"),
        (f"{{'type': 'ANNOTATION', {UIDS}, 'class_index': 0, 'data': {{'x': 1, 'y': 2, 'width': 3}}}}", "Add 'height'"),
        (
            f"{{'type': 'ANNOTATION', {UIDS}, 'class_index': 0, 'data': {{'x1': 1, 'y1': 2, 'x2': 3, 'y2': 4}}}}",
            '"width": x2 - x1',
        ),
    ],
)
def test_an_output_that_is_refused_is_told_with_what_to_write(tmp_path: Path, output: str, told: str) -> None:
    [finding] = examined(examine, tmp_path, predicting(f"return [{output}]"))
    assert (finding.code.name, finding.place.line) == ("M014", 6)
    assert told in finding.fix


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("'prob': 0.5", "Write 'probability'."),
        ("'frame': 0", "Write 'frame_number'."),
        ("'colour': 'red'", "Remove it"),
        ("'data': {'mask': [], 'size': 3}", "Remove it"),
        ("'data': {'x': 1, 'y': 2, 'w': 3}", "Write 'width'."),
    ],
)
def test_a_key_that_nobody_knows_is_told_with_the_nearest(tmp_path: Path, more: str, told: str) -> None:
    output = f"{{'type': 'ANNOTATION', {UIDS}, 'class_index': 0, {more}}}"
    [finding] = examined(examine, tmp_path, predicting(f"return [{output}]"))
    assert finding.code.name == "M019" and told in finding.fix


def test_a_misspelt_key_that_is_needed_is_to_be_renamed(tmp_path: Path) -> None:
    body = "return [{'type': 'ANNOTATION', 'study_id': '1', 'class_index': 0}]"
    findings = examined(examine, tmp_path, predicting(body))
    assert [one.fix for one in findings if one.code.name == "M014"] == ["Rename 'study_id' to 'study_uid'."]


@pytest.mark.parametrize(
    "body",
    [
        f"return [{{'type': 'ANNOTATION', {UIDS}, 'class_index': 0, 'data': {{'mask': []}}}}]",
        f"return [{{'type': 'NONE', {UIDS}, 'frame_number': None, 'note': 'x'}}]",
        f"return [{{'type': 'ANNOTATION', {UIDS}, 'class_index': 0, 'data': {{}}}}]",
        f"return [{{'type': 'ANNOTATION', {UIDS}, 'class_index': 0, 'data': None, 'explanations': []}}]",
        "return [{'type': 'ANNOTATION', **uids(data), 'class_index': 0}]",
        "output = {'type': 'ANNOTATION', 'study_uid': '1'}\noutput['class_index'] = 0\nreturn [output]",
        "output = {'type': 'ANNOTATION', 'study_uid': '1'}\noutput.update(found(data))\nreturn [output]",
        "output = {'type': 'ANNOTATION', 'series_uid': '1'}\nreturn [{**output, 'study_uid': '1', 'class_index': 0}]",
        "output = {'type': 'NONE', 'series_uid': '1'}\nfor key in data:\n    output[key] = 1\nreturn [output]",
        f"uids = {{{UIDS}}}\nreturn [uids]",
        "found = {'type': 'ANNOTATION', 'class_index': 0}\nreturn [dict(found, study_uid='1')]",
        "output = {'type': 'ANNOTATION', 'class_index': 0}\noutput |= uids(data)\nreturn [output]",
        "return [{'type': 'bbox', 'data': [1]}]",
        "return [{'type': 'LINEAR', 'probability': 1}]",
        "transform = {'type': 'RESIZE', 'note': 1}\nreturn []",
        f"kind = 'NONE'\nreturn [{{'type': kind, {UIDS}}}]",
        f"return [{{'type': 'TEXT', {UIDS}, 'note': {{'input': 'a', 'output': 'b'}}}}]",
        f"box = {{'x': 1, 'y': 2}}\nbox['width'] = box['height'] = 3\n"
        f"return [{{'type': 'ANNOTATION', {UIDS}, 'class_index': 0, 'data': box}}]",
        f"return [{{'type': 'ANNOTATION', {UIDS}, 'class_index': 0, 'data': self.data(data)}}]",
        f"return [{{'type': 'IMAGE', {UIDS}, 'class_index': 0, 'images': None}}]",
    ],
)
def test_what_is_accepted_or_cannot_be_told_is_silent(tmp_path: Path, body: str) -> None:
    assert found_in(examine, tmp_path, predicting(body)) == []


def test_keys_that_another_file_adds_count_as_there(tmp_path: Path) -> None:
    body = "output = {'type': 'ANNOTATION', 'class_index': 0}\nreturn [finish(output)]"
    code = predicting(body, before="from more import finish\n")
    more = "def finish(output):\n    output['study_uid'] = '1'\n    return output\n"
    assert found_in(examine, tmp_path, code, more_py=more) == []
    assert found_in(examine, tmp_path / "b", code, more_py="def finish(output):\n    return output\n") == ["M014:5"]
