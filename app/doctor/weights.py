"""Files of weights that are not what they should be, and pickles that run code while they are loaded.

picklescan knows which names in a pickle run code. It reads a pickle without executing it, and all of it into memory;
so it gets a file in which long values are skipped and that ends after many operations.
"""

import io
import json
import logging
import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject
from model_loader.layout import folders
from model_loader.member_paths import printable

RUNS_CODE = Code("W001", Severity.WARNING, "pickle that runs code")
POINTER = Code("W002", Severity.ERROR, "Git LFS pointer instead of the file")
DAMAGED = Code("W003", Severity.WARNING, "file of weights that is empty or cut off")
NOT_READ = Code("W004", Severity.NOTE, "pickle not read to its end")

CODES = (RUNS_CODE, POINTER, DAMAGED, NOT_READ)

_HDF5 = (".h5", ".hdf5")
_ZIPPED = (".npz", ".keras")
_TORCH = (".pt", ".pth", ".ckpt", ".bin", ".torchscript", ".ts")
_PICKLED = (".pkl", ".pickle", ".joblib")
_OTHERS = (".npy", ".onnx", ".pb", ".tflite", ".safetensors", ".caffemodel", ".weights", ".model", ".params")
_WEIGHTS = (*_HDF5, *_ZIPPED, *_TORCH, *_PICKLED, *_OTHERS)
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".bmp", ".tif", ".tiff", ".webp", ".mp4", ".dcm", ".nii")
_NOBODY_LOADS = (*_PICTURES, ".md", ".txt", ".rst", ".pdf", ".html", ".ipynb", ".csv")

_HEAD = 1024
_LFS = b"version https://git-lfs.github.com/spec/"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ZIP_SIGNATURE = b"PK\x03\x04"
#: What `torch.save` began files with before 1.6: tensors follow behind the pickles.
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_PROTOCOLS = tuple(bytes((0x80, protocol)) for protocol in range(6))

_LONG_VALUE = 1 << 16
#: Of a pickle at most so many operations are read: picklescan keeps about 200 bytes for each.
_MOST_OPERATIONS = 1_000_000
_LARGEST_IN_ZIP = 16 << 20
_LARGEST_HEADER = 16 << 20
_FETCH_AGAIN = "Copy or download it again, compare its size with the original's, and pack the package again."


def examine(subject: Subject) -> Iterator[Finding]:
    """Every file of the package by its first bytes; pickles as far as their operations go."""
    for folder in folders(subject.package.root):
        for name in folder.files:
            path = folder.path / name
            try:
                yield from _examined(subject, path)
            except OSError:  # not readable, or gone: loading says so
                continue


def _examined(subject: Subject, path: Path) -> Iterator[Finding]:
    suffix = path.suffix.lower()
    if path.name.startswith("._") or not path.is_file():
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if head.startswith(_LFS):
            if suffix not in _NOBODY_LOADS:
                yield _pointer(subject, path, head)
            return
        fault = _fault(file, head, suffix, size) if suffix in _WEIGHTS else None
    if fault:
        yield Finding(DAMAGED, subject.place(path), fault, _FETCH_AGAIN)
    if size and _may_be_pickle(head, suffix):
        yield from _scanned(subject, path, is_zip=head.startswith(_ZIP_SIGNATURE))


def _pointer(subject: Subject, path: Path, head: bytes) -> Finding:
    place = subject.place(path)
    size = next((line[5:] for line in head.decode("ascii", "replace").splitlines() if line.startswith("size ")), "")
    meant = f" of {int(size):,} bytes" if size.isdecimal() and len(size) < 20 else ""
    reason = f"{printable(path.name)} is a small text that stands for a file{meant} in Git LFS; the file is not here."
    fix = f"Run `git lfs install`, then `git lfs pull --include {place.file}`, and pack the package again."
    return Finding(POINTER, place, reason, fix)


def _fault(file: IO[bytes], head: bytes, suffix: str, size: int) -> str | None:
    """What is wrong with a file of weights as a whole, as a sentence."""
    if size == 0:
        return "The file is empty (0 bytes)."
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "The file is a web page: the download gave a page about the file instead of the file."
    if suffix in _HDF5:
        return _hdf5_fault(file, size)
    if head.startswith(_ZIP_SIGNATURE):
        return _zip_fault(file)
    if suffix in _ZIPPED:
        return f"A {suffix} file is a zip archive, and this one does not begin like one."
    if suffix == ".npy" and not head.startswith(b"\x93NUMPY") and not head.startswith(_PROTOCOLS):
        return "A .npy file begins with the bytes \\x93NUMPY, and this one does not."
    if suffix == ".safetensors":
        return _safetensors_fault(file, head, size)
    if suffix in (".pkl", ".pickle") and head.startswith(_PROTOCOLS) and not head.startswith(_OLD_TORCH):
        file.seek(-1, os.SEEK_END)
        return (
            None
            if file.read(1) == b"."
            else f"A pickle ends with a full stop, and this one, of {size:,} bytes, does not."
        )
    return None


def _zip_fault(file: IO[bytes]) -> str | None:
    try:
        with zipfile.ZipFile(file):
            return None
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, EOFError):
        return "It begins as a zip archive whose table of contents, at its end, is missing: the file is cut off."


def _hdf5_fault(file: IO[bytes], size: int) -> str | None:
    """HDF5 says in its superblock, which begins at 0, 512, 1024 …, where the file ends."""
    at = 0
    while at < size:
        file.seek(at)
        block = file.read(64)
        if block.startswith(_HDF5_SIGNATURE) and len(block) == 64:
            end = {0: 40, 1: 44, 2: 28, 3: 28}.get(block[8])
            offset_bytes = block[13] if block[8] < 2 else block[9]
            if end is None or offset_bytes != 8:
                return None
            said = int.from_bytes(block[end : end + 8], "little")
            return f"It says that it ends after {said:,} bytes, and it has {size:,}." if size < said else None
        at = 2 * at or 512
    return "An HDF5 file begins with the bytes \\x89HDF, and this one does not."


def _safetensors_fault(file: IO[bytes], head: bytes, size: int) -> str | None:
    length = int.from_bytes(head[:8], "little")
    if size < 8 or length > size - 8:
        return f"Its header alone would take {length:,} bytes, and the file has {size:,}."
    if length > _LARGEST_HEADER:
        return None
    file.seek(8)
    try:
        header = json.loads(file.read(length))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        said = 8 + length + max(ends, default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "Its header, which lists the tensors, has no meaning."
    return f"Its tensors take {said:,} bytes, and the file has {size:,}." if size < said else None


def _may_be_pickle(head: bytes, suffix: str) -> bool:
    if head.startswith(_ZIP_SIGNATURE):
        return suffix in (*_TORCH, *_ZIPPED, *_PICKLED, ".zip", ".model", ".weights", ".mar")
    return head.startswith(_PROTOCOLS) or suffix in _PICKLED or head.startswith(b"\x93NUMPY")


def _scanned(subject: Subject, path: Path, *, is_zip: bool) -> Iterator[Finding]:
    place = subject.place(path)
    if is_zip and (large := _large_pickle_in_zip(path)):
        reason = (
            f"{large} in it is larger than {_LARGEST_IN_ZIP >> 20} MiB and was not read, so nothing is known about it."
        )
        yield Finding(NOT_READ, place, reason, "Load it only if you trust where it comes from.")
        return
    with path.open("rb") as file:
        lean = LeanFile(file)
        # The table of contents of a zip archive is one long value, and of what it lists only pickles are read.
        names = _names_that_run_code(file if is_zip else lean, path)
    if names:
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        reason = f"Loading this pickle calls or looks up {shown}, which can run any code with the rights of the model."
        fix = (
            "Check where the file comes from. If it is your own, store plain weights, by "
            "`torch.save(model.state_dict(), …)`, safetensors or `numpy.savez`, and load them with "
            "`torch.load(…, weights_only=True)`."
        )
        yield Finding(RUNS_CODE, place, reason, fix)
    if lean.operations > _MOST_OPERATIONS:
        reason = f"Only the first {_MOST_OPERATIONS:,} operations of this pickle were read; what follows is not known."
        yield Finding(NOT_READ, place, reason, "Load it only if you trust where it comes from.")


def _large_pickle_in_zip(path: Path) -> str | None:
    """A pickle in a zip archive that would take too much memory to read."""
    try:
        with zipfile.ZipFile(path) as archive:
            large = [entry.filename for entry in archive.infolist() if entry.file_size > _LARGEST_IN_ZIP]
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, EOFError):
        return None
    return next((printable(name) for name in large if name.lower().endswith((*_PICKLED, ".dat", ".data"))), None)


def _names_that_run_code(file: "IO[bytes] | LeanFile", path: Path) -> list[str]:
    """The dangerous names in the pickles of a file, sorted; none where it is no pickle or damaged."""
    from picklescan.scanner import SafetyLevel, scan_bytes

    log = logging.getLogger("picklescan")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(action="ignore"):  # about headers that numpy 1 wrote
            result = scan_bytes(file, path.name, path.suffix.lower())
    except Exception:  # noqa: BLE001  a file of a stranger's, read by a parser that raises whatever it meets
        return []
    finally:
        log.setLevel(level)
    return sorted({_dotted(one.module, one.name) for one in result.globals if one.safety is SafetyLevel.Dangerous})


def _dotted(module: str, name: str) -> str:
    if "unknown" in (module, name):
        return "a name that is put together while it loads"
    return printable(f"{module}.{name}")[:80]


class LeanFile(io.RawIOBase):
    """A file for the parser of pickles: of long values, which hold numbers or pictures, only the length is true."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._at = file.seek(0)
        self.operations = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = self._file.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        return self._at

    def readline(self, size: int | None = -1, /) -> bytes:
        line = self._file.readline(_LONG_VALUE)
        self._at += len(line)
        return line

    def read(self, size: int = -1, /) -> bytes:
        """Zeros for a long value: pages that are never touched take no memory."""
        if size == 1:
            self.operations += 1
            if self.operations > _MOST_OPERATIONS:
                return b""
        left = max(0, self._size - self._at)
        size = left if size < 0 else min(size, left)
        if size <= _LONG_VALUE:
            data = self._file.read(size)
            self._at += len(data)
            return data
        self._at = self._file.seek(size, os.SEEK_CUR)
        return bytes(size)
