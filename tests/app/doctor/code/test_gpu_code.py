"""Code that needs a GPU without asking, and weights loaded to the device they came from."""

from pathlib import Path

import pytest

from app.doctor.code.gpu_code import examine
from tests.building import write_files
from tests.doctoring import DEPLOY, examined, found_in, predicting, subject_of

ASKED = "torch.cuda.is_available()"


def init(body: str) -> str:
    return predicting("return self.net(data)", init=body, before="import torch\n")


@pytest.mark.parametrize(
    "body",
    [
        "self.net = Net().cuda()",
        "self.net = torch.nn.DataParallel(Net()).cuda(0)",
        "self.net = Net().to('cuda')",
        "self.net = Net().to('cuda:0')",
        "self.device = torch.device('cuda')",
        "self.device = 'cuda'",
        "x = torch.zeros(3, device='cuda')",
        "torch.cuda.set_device(0)",
        "torch.set_default_tensor_type('torch.cuda.FloatTensor')",
        "x = torch.cuda.FloatTensor([1])",
        "if self.ready:\n    self.net.cuda()",
        "w = torch.load('w.pt', map_location='cuda')",
    ],
)
def test_a_gpu_that_nobody_asked_for_is_told(tmp_path: Path, body: str) -> None:
    [finding] = examined(examine, tmp_path, init(body))
    assert (finding.code.name, finding.code.severity) == ("M007", "warning")
    assert "is_available" in finding.fix


@pytest.mark.parametrize(
    "body",
    [
        f"self.device = 'cuda' if {ASKED} else 'cpu'\nself.net = Net().to(self.device)",
        f"self.device = torch.device('cuda' if {ASKED} else 'cpu')",
        f"if {ASKED}:\n    self.net = Net().cuda()\nelse:\n    self.net = Net()",
        f"self.device = 'cuda'\nif not {ASKED}:\n    self.device = 'cpu'",
        f"use_cuda = {ASKED}\nif use_cuda:\n    self.net.cuda()",
        f"if not {ASKED}:\n    return\nself.net.cuda()",
        f"{ASKED} and self.net.cuda()",
        "try:\n    self.net.cuda()\nexcept RuntimeError:\n    pass",
        "if self.gpu_ids:\n    self.net.to('cuda:0')",
        "self.net = Net().to('cpu')",
        "self.net.to(self.device)",
        "def train():\n    self.net.cuda()",
        "self.kinds = {'cuda': 1}",
        f"x = torch.zeros(3, device='cuda') if {ASKED} else torch.zeros(3)",
    ],
)
def test_whoever_asks_first_is_silent(tmp_path: Path, body: str) -> None:
    assert found_in(examine, tmp_path, init(body)) == []


def test_a_function_that_is_called_after_asking_is_silent(tmp_path: Path) -> None:
    code = (
        init("if torch.cuda.is_available():\n    self.to_fast()")
        + "\n    def to_fast(self):\n        self.net.cuda()\n"
    )
    assert found_in(examine, tmp_path, code) == []
    assert found_in(examine, tmp_path / "b", code.replace("if torch.cuda.is_available():", "if True:")) == ["M007:11"]


def test_a_model_for_cpus_is_told_that_it_always_fails(tmp_path: Path) -> None:
    code = init("self.net = Net().cuda()")
    package = write_files(tmp_path / "model", {DEPLOY: code, ".mdai/config.yaml": "device_type: cpu\n"})
    [finding] = examine(subject_of(package))
    assert "every start" in finding.reason


@pytest.mark.parametrize(
    ("call", "fixed"),
    [
        ("torch.load(path)", 'torch.load(path, map_location="cpu")'),
        ("torch.load('w.pt', weights_only=True)", 'weights_only=True, map_location="cpu")'),
        ("torch.jit.load(path)", 'torch.jit.load(path, map_location="cpu")'),
    ],
)
def test_weights_without_a_place_to_go_are_told(tmp_path: Path, call: str, fixed: str) -> None:
    [finding] = examined(examine, tmp_path, init(f"self.net.load_state_dict({call})"))
    assert finding.code.name == "M008" and fixed in finding.fix


def test_the_device_that_the_model_has_chosen_is_proposed(tmp_path: Path) -> None:
    body = f"self.device = 'cuda' if {ASKED} else 'cpu'\nw = torch.load('w.pt')"
    [finding] = examined(examine, tmp_path, init(body))
    assert "map_location=self.device" in finding.fix


@pytest.mark.parametrize(
    "call",
    [
        "torch.load(path, map_location='cpu')",
        "torch.load(path, 'cpu')",
        "torch.load(path, **options)",
        f"torch.load(path) if {ASKED} else torch.load(path, map_location='cpu')",
        "numpy.load(path)",
        "json.load(path)",
    ],
)
def test_weights_that_load_anywhere_are_silent(tmp_path: Path, call: str) -> None:
    assert found_in(examine, tmp_path, init(f"w = {call}")) == []


def test_an_import_by_another_name_is_followed(tmp_path: Path) -> None:
    code = "from torch import load as read\n" + predicting("return read('w.pt')", before="import torch as t\n")
    assert found_in(examine, tmp_path, code) == ["M008:6"]
