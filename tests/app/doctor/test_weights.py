"""Files of weights: pickles that run code, pointers, damage; and what is none of these."""

import io
import logging
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from app.doctor import weights
from app.doctor.finding import Finding
from app.doctor.subject import Subject
from app.doctor.weights import LeanFile
from app.scaffold import write_package as write_template
from model_loader.package import open_package
from tests.building import write_files
from tests.doctoring import subject_of

REPOSITORY = Path(__file__).resolve().parents[3]
DEPLOY = "class MDAIModel:\n    pass\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00ff\nsize 123456789\n"
HDF5 = b"\x89HDF\r\n\x1a\n"


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


HARMFUL = pickle.dumps({"a": RunsCode()})
HARMLESS = pickle.dumps({"a": np.zeros(3), "b": [1, 2]})


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def hdf5(version: int, end: int, size: int, before: int = 0) -> bytes:
    """A superblock that says that the file ends at `end`, in a file of `size` bytes."""
    block = bytearray(HDF5 + bytes(56))
    block[8] = version
    block[9 if version > 1 else 13] = 8
    at = {0: 40, 1: 44, 2: 28, 3: 28}[version]
    block[at : at + 8] = struct.pack("<Q", end)
    return (bytes(before) + bytes(block)).ljust(size, b"\0")


def safetensors(end: int, size: int) -> bytes:
    header = b'{"__metadata__": {}, "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, %d]}}' % end
    return (struct.pack("<Q", len(header)) + header).ljust(size, b"\0")


def found(tmp_path: Path, files: dict[str, str | bytes]) -> list[Finding]:
    folder = write_files(tmp_path / "m", {".mdai/mdai_deploy.py": DEPLOY, **files})
    return list(weights.examine(subject_of(folder)))


def told(tmp_path: Path, files: dict[str, str | bytes]) -> list[str]:
    return [f"{finding.code.name} {finding.place}" for finding in found(tmp_path, files)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.pkl", HARMFUL),
        ("w.pickle", pickle.dumps(RunsCode(), protocol=0)),
        ("w.joblib", pickle.dumps(RunsCode(), protocol=5)),
        ("no_suffix", HARMFUL),
        ("w.pt", zipped({"archive/data.pkl": HARMFUL, "archive/data/0": b"\0" * 100})),
        ("w.pt", zipped({f"archive/data/{number}": b"\0" for number in range(3000)} | {"archive/data.pkl": HARMFUL})),
        ("w.pth", HARMFUL),
        ("w.npy", saved(np.array([RunsCode()], dtype=object))),
        ("w.npz", zipped({"a.npy": saved(np.array([RunsCode()], dtype=object))})),
        ("w.pkl", pickle.dumps(1) + HARMFUL),
    ],
)
def test_a_pickle_that_runs_code_is_named_with_what_it_calls(tmp_path: Path, name: str, content: bytes) -> None:
    (finding,) = found(tmp_path, {f"lib/{name}": content})
    assert (finding.code.name, finding.place.file) == ("W001", f"lib/{name}")
    assert "posix.system" in finding.reason


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.pkl", HARMLESS),
        ("w.pt", zipped({"archive/data.pkl": HARMLESS, "archive/data/0": b"\0" * 100})),
        ("w.npy", saved(np.zeros(3))),
        ("w.npz", zipped({"a.npy": saved(np.zeros(3))})),
        ("w.bin", os.urandom(10_000)),
        ("w.pth", weights._OLD_TORCH + HARMLESS + b"\0" * 100),
        ("w.pkl", weights._OLD_TORCH + HARMLESS + b"\0" * 100),
        ("w.pkl", b"some words\n"),
        ("w.h5", hdf5(0, 500, 500)),
        ("w.h5", hdf5(3, 2000, 3000)),
        ("w.hdf5", hdf5(2, 1512, 2048, before=1024)),
        ("w.safetensors", safetensors(10, 200)),
        ("w.onnx", b"x"),
        ("data.zip", zipped({"a.png": b"x"})),
        ("figure.png", POINTER),
        ("empty.py", b""),
        ("empty", b""),
        ("__pycache__/w.pkl", HARMFUL),
        ("venv/pyvenv.cfg", b""),
    ],
)
def test_what_is_as_it_should_be_is_silent(tmp_path: Path, name: str, content: bytes) -> None:
    assert told(tmp_path, {name: content}) == []


@pytest.mark.parametrize("name", ["w.pt", "model/anything", "lib/data.dat"])
def test_a_pointer_instead_of_the_file_is_an_error(tmp_path: Path, name: str) -> None:
    (finding,) = found(tmp_path, {name: POINTER})
    assert (finding.code.name, finding.place.file) == ("W002", name)
    assert "a file of 123,456,789 bytes in Git LFS" in finding.reason
    assert f"git lfs pull --include {name}" in finding.fix


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("w.pt", b"", "empty (0 bytes)"),
        ("w.onnx", b"", "empty (0 bytes)"),
        ("w.pt", zipped({"archive/data.pkl": HARMLESS})[:-40], "cut off"),
        ("w.keras", b"not a zip", "does not begin like one"),
        ("w.npz", saved(np.zeros(2)), "does not begin like one"),
        ("w.h5", b"not HDF5", "\\x89HDF"),
        ("w.h5", hdf5(0, 5000, 500), "ends after 5,000 bytes, and it has 500"),
        ("w.hdf5", hdf5(2, 5000, 4096, before=512), "ends after 5,000 bytes"),
        ("w.npy", b"x", "\\x93NUMPY"),
        ("w.safetensors", safetensors(1000, 300), "and the file has 300"),
        ("w.safetensors", b"\xff" * 20, "header alone"),
        ("w.safetensors", struct.pack("<Q", 4) + b"[[[[", "has no meaning"),
        ("w.pkl", HARMLESS[:-20], "full stop"),
        ("w.pt", b"\n<!DOCTYPE html><title>Sign in</title>", "a web page"),
    ],
)
def test_damage_is_a_warning(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    findings = found(tmp_path, {name: content})
    assert [finding.code.name for finding in findings] == ["W003"]
    assert reason in findings[0].reason


def test_a_pickle_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    content = pickle.dumps([RunsCode(), list(range(1000))])[:-10]
    assert told(tmp_path, {"w.pkl": content}) == ["W003 w.pkl", "W001 w.pkl"]


def test_a_long_value_is_skipped_and_what_follows_is_read(tmp_path: Path) -> None:
    content = pickle.dumps([bytes(3 << 20), RunsCode()], protocol=4)
    assert told(tmp_path, {"w.pkl": content}) == ["W001 w.pkl"]
    file = LeanFile(io.BytesIO(b"a" * 100_000 + b"the end"))
    assert file.read(100_000) == bytes(100_000)
    assert (file.tell(), file.read(), file.read(1)) == (100_000, b"the end", b"")


def test_a_pickle_of_very_many_operations_is_read_to_a_bound(tmp_path: Path) -> None:
    content = b"\x80\x04(" + b"N" * (weights._MOST_OPERATIONS + 10) + b"l."
    assert told(tmp_path, {"w.pkl": content}) == ["W004 w.pkl"]


def test_a_large_pickle_in_a_zip_is_not_read(tmp_path: Path) -> None:
    content = zipped({"archive/data.pkl": bytes(weights._LARGEST_IN_ZIP + 1)})
    assert told(tmp_path, {"w.pt": content}) == ["W004 w.pt"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_file_holds_the_doctor_goes_on(tmp_path: Path, seed: int) -> None:
    """Damaged in any place, a file gives findings or none, and an exception never."""
    random = np.random.default_rng(seed)
    whole = [
        HARMFUL,
        zipped({"archive/data.pkl": HARMFUL}),
        saved(np.array([RunsCode()], dtype=object)),
        hdf5(0, 9, 99),
    ]
    files: dict[str, str | bytes] = {}
    for suffix in (".pkl", ".pt", ".npy", ".npz", ".h5", ".safetensors", ".keras", ""):
        for number, content in enumerate(whole):
            damaged = bytearray(content)
            for at in random.integers(0, len(damaged), 3):
                damaged[at] = random.integers(0, 256)
            files[f"{number}{suffix}"] = bytes(damaged[: random.integers(1, len(damaged) + 1)])
    assert all(finding.code in weights.CODES for finding in found(tmp_path, files))


def test_nothing_is_printed_or_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    level = logging.getLogger("picklescan").level
    found(tmp_path, {"a.pkl": HARMFUL, "b.pkl": b"x", "c.pt": b"y"})
    assert (capsys.readouterr(), caplog.records) == (("", ""), [])
    assert logging.getLogger("picklescan").level == level


def test_picklescan_is_imported_where_a_pickle_is_read_and_not_before() -> None:
    program = "import sys, app.cli, app.serving, app.doctor.weights; sys.exit('picklescan' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


def test_what_cannot_be_opened_is_passed_over(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "m", {".mdai/mdai_deploy.py": DEPLOY})
    (folder / "loop.pt").symlink_to("loop.pt")
    os.mkfifo(folder / "pipe.pt")
    assert list(weights.examine(subject_of(folder))) == []


@pytest.mark.parametrize("name", ["lung-finder", "tissue-segmentation"])
def test_the_examples_are_silent(name: str, tmp_path: Path) -> None:
    source = REPOSITORY / "examples" / name
    assert list(weights.examine(Subject(source, open_package(source, scratch=tmp_path), "3.11"))) == []


def test_the_template_is_silent(tmp_path: Path) -> None:
    write_template(tmp_path / "new")
    assert list(weights.examine(subject_of(tmp_path / "new"))) == []
