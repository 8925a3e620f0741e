"""How predict ends."""

from pathlib import Path

import pytest

from app.doctor.code.returns import examine
from tests.doctoring import examined, found_in, predicting

COLLECT = "outputs = []\nfor file in data['files']:\n"


@pytest.mark.parametrize(
    "body",
    [
        COLLECT + "    outputs.append(file)\n    return outputs",
        COLLECT + "    if not file['content']:\n        continue\n    outputs += [1]\n    return outputs",
        COLLECT + "    with self.session:\n        outputs.append(file)\n        return outputs\nreturn outputs",
        "files = data['files']\nfor i in range(len(files)):\n    result = [i]\n    return result\nreturn []",
        "for i, file in enumerate(data['files']):\n    return [file]\nreturn []",
        "for instance in data['instances']:\n    return [instance]\nreturn []",
    ],
)
def test_a_return_in_the_loop_over_the_files_is_told(tmp_path: Path, body: str) -> None:
    [finding] = examined(examine, tmp_path, predicting(body))
    assert finding.code.name == "M011"
    assert ("returns None" in finding.reason) == (not body.splitlines()[-1].startswith("return"))


def test_the_line_and_where_it_belongs_are_told(tmp_path: Path) -> None:
    [finding] = examined(examine, tmp_path, predicting(COLLECT + "    outputs.append(file)\n    return outputs"))
    assert finding.place.line == 9
    assert "line 7" in finding.reason and "4 columns to the left" in finding.fix


@pytest.mark.parametrize(
    "body",
    [
        COLLECT + "    outputs.append(file)\nreturn outputs",
        COLLECT + "    if file['content']:\n        return [file]\nreturn outputs",
        COLLECT + "    try:\n        outputs.append(file)\n    except ValueError:\n        return []\nreturn outputs",
        COLLECT + "    try:\n        return [self.read(file)]\n    except ValueError:\n        continue\nreturn []",
        COLLECT + "    def inner():\n        return file\n    outputs.append(inner())\nreturn outputs",
        "for name in ['a', 'b']:\n    return [name]\nreturn []",
        "while True:\n    return []",
        "with self.lock:\n    return []",
        "if data['files']:\n    return []\nelse:\n    return [1]",
        "try:\n    return []\nfinally:\n    print()",
        "try:\n    x = 1\nexcept ValueError:\n    raise\nelse:\n    return []",
        "raise NotImplementedError",
        "yield {}",
        "outputs = {}\noutputs = list(outputs)\nreturn outputs",
        "return self.model(data)",
        "while True:\n    try:\n        return []\n    except ValueError:\n        pass",
    ],
)
def test_a_predict_that_answers_for_all_is_silent(tmp_path: Path, body: str) -> None:
    assert found_in(examine, tmp_path, predicting(body)) == []


@pytest.mark.parametrize(
    ("body", "line", "told"),
    [
        ("outputs = []", 5, "has no `return`"),
        ("if data['files']:\n    return []", 5, "a way through predict"),
        ("for file in data['files']:\n    if file:\n        return [file]", 5, "a way through predict"),
        ("try:\n    return []\nexcept ValueError:\n    print()", 5, "a way through predict"),
        ("if not data['files']:\n    return\nreturn []", 7, "returns None"),
        ("return {'type': 'NONE', 'study_uid': '1'}", 6, "a dict"),
        ("output = {'type': 'NONE'}\nreturn output", 7, "a dict"),
        ("import json\nreturn json.dumps([])", 7, "text"),
        ("return True", 6, "`True`"),
        ("while True:\n    if data:\n        break", 5, "has no `return`"),
    ],
)
def test_a_predict_that_returns_no_list_is_told(tmp_path: Path, body: str, line: int, told: str) -> None:
    [finding] = examined(examine, tmp_path, predicting(body))
    assert (finding.code.name, finding.place.line) == ("M013", line)
    assert told in finding.reason


def test_a_decorated_predict_may_return_what_it_likes(tmp_path: Path) -> None:
    code = "class MDAIModel:\n    @as_list\n    def predict(self, data):\n        pass\n"
    assert found_in(examine, tmp_path, code) == []
