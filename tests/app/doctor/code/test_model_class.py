"""Whether there is an MDAIModel that the server can build and call."""

from pathlib import Path

import pytest

from app.doctor.code.model_class import examine
from tests.doctoring import examined, found_in

PREDICT = "    def predict(self, data):\n        return []\n"
MODEL = f"class MDAIModel:\n{PREDICT}"


@pytest.mark.parametrize(
    ("code", "line", "fix"),
    [
        (f"class MdaiModel:\n{PREDICT}", 1, "Rename MdaiModel to MDAIModel."),
        (f"class Net:\n    pass\n\nclass LungFinder:\n{PREDICT}", 4, "Rename LungFinder to MDAIModel."),
        ("def predict(data):\n    return []\n", None, "Add `class MDAIModel:`"),
        (
            f"if __name__ == '__main__':\n    class MDAIModel:\n    {PREDICT.replace('        ', '            ')}",
            2,
            "Move",
        ),
        ("def build():\n    class MDAIModel:\n        pass\n", 2, "Move"),
        ("def MDAIModel():\n    return object()\n", 1, "Write `class MDAIModel:`"),
    ],
)
def test_a_missing_class_is_told_with_what_was_meant(tmp_path: Path, code: str, line: int | None, fix: str) -> None:
    [finding] = examined(examine, tmp_path, code)
    assert (finding.code.name, finding.place.line) == ("M003", line)
    assert fix in finding.fix


@pytest.mark.parametrize(
    "code",
    [
        MODEL,
        f"class Net:\n{PREDICT}\nMDAIModel = Net\n",
        "from model import MDAIModel\n",
        "from model import Net as MDAIModel\n",
        "from model import *\n",
        "MDAIModel = type('MDAIModel', (), {})\n",
        "if True:\n    class MDAIModel:\n        def predict(self, data):\n            return []\n",
        "globals()['MDAIModel'] = type('MDAIModel', (), {})\n",
    ],
)
def test_a_class_that_comes_in_another_way_is_there(tmp_path: Path, code: str) -> None:
    assert found_in(examine, tmp_path, code, model_py=f"class MDAIModel:\n{PREDICT}\nclass Net:\n{PREDICT}") == []


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        ("def forward(self, data): pass", "Rename forward to predict"),
        ("def Predict(self, data): pass", "Rename Predict to predict"),
        ("def load(self): pass", "Add one."),
        ("async def predict(self, data): pass", "asyncio.run"),
        ("def predict(self): pass", "does not take the request"),
        ("def predict(data): pass", "does not take self"),
        ("def predict(): pass", "does not take self and the request"),
        ("def predict(self, data, threshold): pass", "needs threshold"),
        ("def predict(self, data, *, threshold): pass", "needs threshold"),
        ("@staticmethod\n    def predict(self, data): pass", "Remove @staticmethod."),
        ("@torch.no_grad()\n    def predict(self, data, more): pass", "needs more"),
    ],
)
def test_a_predict_that_the_server_cannot_call_is_told(tmp_path: Path, methods: str, told: str) -> None:
    [finding] = examined(examine, tmp_path, f"import torch\nclass MDAIModel:\n    {methods}\n")
    assert finding.code.name == "M004"
    assert told in finding.reason + finding.fix


@pytest.mark.parametrize(
    ("init", "told"),
    [
        ("def __init__(self, weights, device='cpu'): pass", "needs weights"),
        ("def __init__(self, *, device): pass", "needs device"),
        ("def __init__(): pass", "takes no self"),
        ("async def __init__(self): pass", "async def"),
        ("def __int__(self): pass", "Nothing calls __int__"),
        ("def _init_(self): pass", "Nothing calls _init_"),
    ],
)
def test_an_init_that_the_server_cannot_call_is_told(tmp_path: Path, init: str, told: str) -> None:
    [finding] = examined(examine, tmp_path, f"class MDAIModel:\n    {init}\n{PREDICT}")
    assert (finding.code.name, finding.place.line) == ("M004", 2)
    assert told in finding.reason


@pytest.mark.parametrize(
    "code",
    [
        "class MDAIModel:\n    def __init__(self, path='x', *args, device='cpu', **kw): pass\n" + PREDICT,
        "class MDAIModel(Base):\n    pass\n",
        "class MDAIModel(object):\n" + PREDICT,
        "@dataclass\nclass MDAIModel:\n    path: str = 'x'\n" + PREDICT,
        "class MDAIModel:\n    def __init__(self):\n        self.predict = lambda data: []\n",
        "class MDAIModel:\n    def run(self, data): return []\n    predict = run\n",
        "class MDAIModel:\n    def __getattr__(self, name): return print\n",
        "class MDAIModel:\n    @staticmethod\n    def predict(data): return []\n",
        "class MDAIModel:\n    @classmethod\n    def predict(cls, data): return []\n",
        "class MDAIModel:\n    def predict(self, data, threshold=0.5, *more, **options): return []\n",
        "class MDAIModel:\n    def predict(*args): return []\n",
        "class MDAIModel:\n    @with_config\n    def predict(self, data, config): return []\n",
        "class MDAIModel:\n    if True:\n        def predict(self, data): return []\n",
    ],
)
def test_whatever_can_be_built_and_called_is_silent(tmp_path: Path, code: str) -> None:
    assert found_in(examine, tmp_path, code) == []


def test_the_class_is_looked_at_where_it_is_defined(tmp_path: Path) -> None:
    [finding] = examined(
        examine, tmp_path, "from net import MDAIModel\n", net_py="class MDAIModel:\n    def predict(self): pass\n"
    )
    assert str(finding.place) == "net.py:2"


@pytest.mark.parametrize("parameters", ["self, data", "self, images, size"])
def test_a_predict_batch_beside_or_in_place_of_predict_is_nothing_to_tell(tmp_path: Path, parameters: str) -> None:
    batch = f"    def predict_batch({parameters}):\n        return []\n"
    assert found_in(examine, tmp_path / "both", f"class MDAIModel:\n{PREDICT}\n{batch}") == []
    if parameters == "self, data":
        assert found_in(examine, tmp_path, f"class MDAIModel:\n{batch}") == []
