"""Paths of another machine, bare names, and writing beside the code."""

from pathlib import Path

import pytest

from app.doctor.code.file_paths import examine
from tests.building import write_files
from tests.doctoring import DEPLOY, examined, found_in, predicting, subject_of

#: Where people's folders lie; no file of this repository names one.
HOME = "/ho" + "me"


def init(body: str) -> str:
    before = "import os, sys, tempfile\nimport numpy as np\n"
    return predicting("return []", init=body.replace("HOME", HOME), before=before)


@pytest.mark.parametrize(
    "body",
    [
        "self.w = 'HOME/ada/weights.h5'",
        "self.w = load('/Users/ada/model.pt')",
        "self.w = open(r'C:\\models\\w.pt')",
        "self.w = 'C:/models/w.pt'",
        "self.w = '/content/drive/MyDrive/w.h5'",
        "self.root = '/workspace/model'",
        "self.w = np.load('/data/w.npy')",
        "self.weights_path = '/mnt/nfs/w.pt'",
        "sys.path.append('/app/src')",
        "self.w = os.path.join('/data', 'w.pt')",
        "self.net = Net(checkpoint='/models/w.pt')",
    ],
)
def test_a_path_of_another_machine_is_told(tmp_path: Path, body: str) -> None:
    [finding] = examined(examine, tmp_path, init(body))
    assert (finding.code.name, finding.place.line) == ("M009", 6)


@pytest.mark.parametrize(
    "body",
    [
        "self.w = '/tmp/w.h5'",
        "self.url = 'https://hostHOME/ada/w.h5'",
        "self.route = '/data/items'",
        "self.pattern = r'/home/(\\w+)'",
        "print('HOME/ada')",
        "'HOME/ada/w.h5'",
        "self.w = os.environ.get('WEIGHTS', 'HOME/ada/w.h5')",
        "if os.path.exists('HOME/ada'):\n    self.w = 'HOME/ada/w.h5'",
        "path = 'HOME/ada/w.h5'\nif not os.path.exists(path):\n    path = os.path.dirname(__file__)",
        "self.ok = 'x'.startswith('/home/')",
        "self.url = 'x://y/z'",
        "self.text = f'HOME/ada/{self}'",
        "def train():\n    return 'HOME/ada/w.h5'",
    ],
)
def test_what_is_no_path_or_is_looked_for_is_silent(tmp_path: Path, body: str) -> None:
    assert found_in(examine, tmp_path, init(body)) == []


def test_a_file_that_the_package_has_is_named_in_the_fix(tmp_path: Path) -> None:
    package = write_files(tmp_path, {DEPLOY: init("self.w = open('HOME/ada/w.txt')"), "w.txt": "1"})
    [finding] = examine(subject_of(package))
    assert 'os.path.join(os.path.dirname(__file__), "..", "w.txt")' in finding.fix


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("self.w = open('w.txt')", '"..", "w.txt"'),
        ("self.w = np.load('nets/w.npy')", '"..", "nets", "w.npy"'),
        ("self.w = np.load(os.path.join('nets', 'w.npy'))", '"..", "nets", "w.npy"'),
        ("path = './w.txt'\nself.w = open(path, 'r')", '"..", "w.txt"'),
        ("self.path = 'near.txt'\nself.w = open(self.path)", '"near.txt"'),
        ("self.w = open('../w.txt')", '"..", "w.txt"'),
    ],
)
def test_a_file_opened_by_its_bare_name_is_told_with_its_path(tmp_path: Path, body: str, where: str) -> None:
    files: dict[str, str | bytes] = {"w.txt": "1", "nets/w.npy": b"1", ".mdai/near.txt": "1"}
    [finding] = examine(subject_of(write_files(tmp_path, {DEPLOY: init(body), **files})))
    assert finding.code.name == "M018"
    assert f"os.path.join(os.path.dirname(__file__), {where})" in finding.fix


@pytest.mark.parametrize(
    "body",
    [
        "self.w = open(os.path.join(os.path.dirname(__file__), '..', 'w.txt'))",
        "self.w = open('./lib/w.txt')",
        "self.w = open('lib/w.txt')",
        "self.w = open('other.txt')",
        "self.w = open('w.txt', 'w')",
        "os.chdir(os.path.dirname(__file__))\nself.w = open('w.txt')",
        "self.w = print('w.txt')",
        "def load(name):\n    return os.path.join(os.path.dirname(__file__), name)\nself.w = load('w.txt')",
    ],
)
def test_files_that_are_found_or_made_are_silent(tmp_path: Path, body: str) -> None:
    package = write_files(tmp_path, {DEPLOY: init(body), "w.txt": "1"})
    assert list(examine(subject_of(package))) == []


@pytest.mark.parametrize(
    "body",
    [
        "open(os.path.join(os.path.dirname(__file__), 'log.txt'), 'a')",
        "root = os.path.dirname(os.path.abspath(__file__))\nout = os.path.join(root, 'out')\nos.makedirs(out)",
        "self.root = os.path.dirname(__file__)\nnp.save(os.path.join(self.root, 'x.npy'), 1)",
        "import torch\ntorch.save({}, os.path.join(os.path.dirname(__file__), 'x.pt'))",
    ],
)
def test_writing_beside_the_code_is_told(tmp_path: Path, body: str) -> None:
    [finding] = examined(examine, tmp_path, init(body))
    assert (finding.code.name, finding.code.severity) == ("M020", "warning")


@pytest.mark.parametrize(
    "body",
    [
        "np.save(os.path.join(tempfile.mkdtemp(), 'x.npy'), 1)",
        "open(os.path.join(os.path.dirname(__file__), 'x.txt'))",
        "open(os.path.join(os.path.dirname(__file__), 'x.txt'), 'rb')",
        "open('out.txt', 'w')",
    ],
)
def test_writing_elsewhere_is_silent(tmp_path: Path, body: str) -> None:
    assert found_in(examine, tmp_path, init(body)) == []
