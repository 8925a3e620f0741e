"""What of a package's code runs when the model loads and predicts."""

import ast
from pathlib import Path

from app.doctor.code.script import Script
from tests.building import write_files
from tests.doctoring import DEPLOY, subject_of


def reached(folder: Path, code: str, **files: str) -> set[str]:
    """The names of the functions that run."""
    named = {name.replace("_py", ".py"): text for name, text in files.items()}
    scripts = subject_of(write_files(folder, {DEPLOY: code, **named})).scripts
    return {function.name for script in scripts for function in script.reached}


def only(folder: Path, code: str) -> Script:
    return subject_of(write_files(folder, {DEPLOY: code})).scripts[0]


def test_what_predict_mentions_runs_and_what_nobody_mentions_does_not(tmp_path: Path) -> None:
    code = (
        "from net import Net, prepare as ready\nimport unused\n"
        "class MDAIModel:\n    def __init__(self):\n        self.net = Net()\n"
        "    def predict(self, data):\n        return self.one(ready(data))\n"
        "    def one(self, x):\n        return x\n    def never(self):\n        return 1\n"
        "def train():\n    pass\nif __name__ == '__main__':\n    train()\n"
    )
    net = (
        "class Net(Base):\n    def __init__(self): pass\n    def forward(self, x): return x\n    def fit(self): pass\n"
    )
    files = {"net_py": net + "def prepare(x): return x\ndef augment(x): pass\n", "unused_py": "def fit_all(): pass\n"}
    assert reached(tmp_path, code, **files) == {"__init__", "predict", "one", "forward", "prepare"}


def test_a_name_bound_once_stands_for_its_value(tmp_path: Path) -> None:
    script = only(tmp_path, "a = 1\nb = a\nc = 2\nc = 3\nprint(b, c)\n")
    call = next(node for node in script.nodes if isinstance(node, ast.Call))
    assert [ast.unparse(script.resolved(one)) for one in call.args] == ["1", "c"]


def test_a_library_that_the_package_brings_along_is_known_as_one(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        DEPLOY: "import tool\nimport own\n",
        "library/setup.py": "",
        "library/tool.py": "x = 1\n",
        "setup.py": "",
        "own.py": "",
    }
    subject = subject_of(write_files(tmp_path, files))
    assert {script.file.shown: script.is_library for script in subject.scripts} == {
        DEPLOY: False,
        "library/tool.py": True,
        "own.py": False,
    }
    assert [script.file.shown for script in subject.own_scripts] == [DEPLOY, "own.py"]
