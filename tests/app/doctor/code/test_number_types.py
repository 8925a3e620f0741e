"""numpy's numbers and arrays in outputs."""

from pathlib import Path

import pytest

from app.doctor.code.number_types import examine
from tests.doctoring import examined, found_in, predicting

START = "probs = self.net.predict(data)\nraw = self.torch_net(data)\n"


def output(more: str, before: str = "") -> str:
    return predicting(f"{START}{before}return [{{'type': 'ANNOTATION', 'study_uid': '1', {more}}}]")


@pytest.mark.parametrize(
    ("more", "fix"),
    [
        ("'class_index': np.argmax(probs)", "int(np.argmax(probs))"),
        ("'class_index': raw.argmax()", "int(raw.argmax())"),
        ("'class_index': probs.argmax(axis=-1)[0]", "int(probs.argmax(axis=-1)[0])"),
        ("'class_index': 0, 'probability': probs[0][1]", "float(probs[0][1])"),
        ("'class_index': 0, 'probability': probs.max()", "float(probs.max())"),
        ("'class_index': 0, 'probability': raw.cpu().numpy()[0]", "float(raw.cpu().numpy()[0])"),
        ("'class_index': 0, 'probability': 1 - probs[0, 1]", "float(1 - probs[0, 1])"),
        ("'class_index': 0, 'data': {'mask': (probs[0] > 0.5).astype(np.uint8)}", ".tolist()"),
        ("'class_index': 0, 'data': {'vertices': np.array([[1, 2]])}", ".tolist()"),
        ("'class_index': 0, 'data': {'x': np.int64(3), 'y': 1, 'width': 1, 'height': 1}", "int(np.int64(3))"),
        ("'class_index': 0, 'probability': [{'class_index': 0, 'probability': p} for p in probs[0]]", "float(p)"),
    ],
)
def test_what_is_numpy_s_for_sure_is_told_with_what_makes_it_plain(tmp_path: Path, more: str, fix: str) -> None:
    [finding] = examined(examine, tmp_path, output(more))
    assert (finding.code.name, finding.code.severity) == ("M012", "warning")
    assert fix in finding.fix


@pytest.mark.parametrize(
    "before",
    ["k = np.argmax(probs)\n", "for k in np.where(probs > 1)[1]:\n    pass\n", "k = raw.argmax()\n"],
)
def test_names_are_followed(tmp_path: Path, before: str) -> None:
    [finding] = examined(examine, tmp_path, output("'class_index': k", before))
    assert "int(k)" in finding.fix


@pytest.mark.parametrize(
    "more",
    [
        "'class_index': int(np.argmax(probs)), 'probability': float(probs[0][1])",
        "'class_index': np.argmax(probs).item(), 'probability': raw.max().item()",
        "'class_index': 0, 'data': {'mask': (probs[0] > 0.5).astype(np.uint8).tolist()}",
        "'class_index': self.index, 'probability': raw[0]",
        "'class_index': 0, 'probability': self.predict_one(data)",
        "'class_index': 0, 'probability': self.predict(data)",
        "'class_index': 0, 'probability': max(0.1, 0.2)",
        "'class_index': 0, 'probability': [{'class_index': 1, 'probability': float(p)} for p in probs[0]]",
        "'class_index': len(probs), 'data': {'mask': [[1]]}",
        "'class_index': 0, 'frame_number': data['files'].index(1)",
    ],
)
def test_what_is_plain_or_cannot_be_told_is_silent(tmp_path: Path, more: str) -> None:
    assert found_in(examine, tmp_path, output(more)) == []


def test_a_name_that_is_bound_twice_is_left_alone(tmp_path: Path) -> None:
    before = "k = np.argmax(probs)\nif k > 3:\n    k = int(k)\n"
    assert found_in(examine, tmp_path, output("'class_index': k", before)) == []


def test_a_predict_that_yields_is_told(tmp_path: Path) -> None:
    [finding] = examined(examine, tmp_path, predicting("yield {}"))
    assert "generator" in finding.reason
