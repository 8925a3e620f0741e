"""Habits of scripts that a service suffers from."""

from pathlib import Path

import pytest

from app.doctor.code.habits import examine
from tests.doctoring import examined, found_in, predicting


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("try:\n    return self.net(data)\nexcept:\n    return []", "returns []"),
        ("try:\n    return self.net(data)\nexcept:\n    return None", "returns None"),
        ("for f in data:\n    try:\n        self.net(f)\n    except:\n        continue", "goes on with the next one"),
        ("try:\n    self.net(data)\nexcept BaseException as error:\n    print(error)", "goes on"),
        ("try:\n    self.net(data)\nexcept (ValueError, BaseException):\n    pass", "passes over it"),
    ],
)
def test_a_bare_except_that_goes_on_is_told_with_what_it_does(tmp_path: Path, body: str, told: str) -> None:
    [finding] = examined(examine, tmp_path, predicting(body))
    assert finding.code.name == "M010" and told in finding.reason


@pytest.mark.parametrize(
    "body",
    [
        "try:\n    return self.net(data)\nexcept Exception:\n    return []",
        "try:\n    return self.net(data)\nexcept:\n    print('failed')\n    raise",
        "try:\n    return self.net(data)\nexcept BaseException as error:\n    raise ValueError from error",
        "try:\n    import torch\nexcept:\n    torch = None",
        "try:\n    frames = int(data.frames)\nexcept:\n    frames = 1",
        "import traceback\ntry:\n    self.net(data)\nexcept:\n    traceback.print_exc()",
        "def evaluate():\n    try:\n        pass\n    except:\n        pass",
    ],
)
def test_what_names_its_errors_or_lets_them_go_is_silent(tmp_path: Path, body: str) -> None:
    assert found_in(examine, tmp_path, predicting(body)) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("input('continue?')", "waits for somebody"),
        ("breakpoint()", "debugger"),
        ("import pdb\npdb.set_trace()", "debugger"),
        ("import cv2\ncv2.imshow('x', data)", "no screen"),
        ("from matplotlib import pyplot as plt\nplt.show()", "no screen"),
        ("import matplotlib.pyplot as plt\nplt.show()", "no screen"),
        ("import sys\nsys.exit(1)", "ends the program"),
        ("exit()", "ends the program"),
        ("os._exit(1)", "at once"),
    ],
)
def test_what_needs_a_person_or_ends_the_process_is_told(tmp_path: Path, line: str, told: str) -> None:
    [finding] = examined(examine, tmp_path, predicting(line))
    assert finding.code.name == "M016" and told in finding.reason


@pytest.mark.parametrize(
    "code",
    [
        "def input(x): return x\n" + predicting("return input(data)"),
        predicting("return self.input(data)"),
        "def exit(): pass\n" + predicting("exit()"),
        predicting("fig.show()\nself.exit()"),
        predicting("return []") + "\nif __name__ == '__main__':\n    input()\n    exit()\n",
        predicting("return []", before="import sys\nif sys.version_info < (3,):\n    sys.exit('old')\n"),
        predicting("return []") + "\ndef main():\n    input()\n",
    ],
)
def test_what_does_not_run_or_is_the_package_s_own_is_silent(tmp_path: Path, code: str) -> None:
    assert found_in(examine, tmp_path, code) == []
