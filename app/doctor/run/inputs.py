"""The files that `check --input` names, as requests: what is sent, and what is known about it to compare answers with.

Files are told by their content. Of a DICOM file only the header is read here, of a picture only its size. A file
without UIDs of its own, JPEG, PNG or MP4, gets made-up ones in `dicom_tags`, the same series for one folder's.
"""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import MediaStorageDirectoryStorage, generate_uid

from app.doctor.run.picture_size import picture_size
from app.multipart import recognise

DICOM = "application/dicom"
_KINDS = "DICOM, JPEG, PNG or MP4"
_HEAD_BYTES = 132
#: The most that msgpack carries in one value.
_LARGEST_FILE = 0xFFFFFFFF
_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Rows", "Columns", "NumberOfFrames")


class InputError(Exception):
    """A path that `--input` names cannot be used; the text is a sentence for the person who gave it."""


@dataclass(frozen=True)
class Instance:
    """What an input is, as far as its header says: None is unknown."""

    study_uid: str | None = None
    series_uid: str | None = None
    instance_uid: str | None = None
    rows: int | None = None
    columns: int | None = None
    frames: int | None = 1

    @property
    def size(self) -> tuple[int, int] | None:
        """(rows, columns)."""
        return (self.rows, self.columns) if self.rows and self.columns else None


@dataclass(frozen=True)
class InputFile:
    """One file of a request. `name` is for people; `content` lies on the disk until it is sent."""

    name: str
    content: bytes | Path
    content_type: str
    instance: Instance
    dicom_tags: dict[str, str] | None = None

    def message(self) -> dict[str, Any]:
        """The file as a request carries it. Raises InputError where it cannot be read any more."""
        tags = {} if self.dicom_tags is None else {"dicom_tags": self.dicom_tags}
        try:
            content = self.content if isinstance(self.content, bytes) else self.content.read_bytes()
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {error.strerror}.") from error
        return {"content": content, "content_type": self.content_type, **tags}


@dataclass(frozen=True)
class TrialRequest:
    """What the model is asked at once."""

    name: str
    files: tuple[InputFile, ...]
    is_synthetic: bool = False

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """What the files are, in their order."""
        return tuple(file.instance for file in self.files)


def read_inputs(paths: Iterable[Path]) -> tuple[InputFile, ...]:
    """The files that `paths` name, folders walked, each once and in order. Raises InputError.

    In a folder only what is DICOM, JPEG, PNG or MP4 counts; what is named itself must be one of them.
    """
    found: dict[str, InputFile] = {}
    for path in paths:
        files = list(_walked(path) if path.is_dir() else _named(path))
        if not files:
            raise InputError(f"--input: {path} holds no file that is {_KINDS} by its content. Name another folder.")
        for file in files:
            found.setdefault(os.path.realpath(file.name), file)
    return tuple(found.values())


def given_requests(files: Sequence[InputFile], scope: str | None) -> tuple[TrialRequest, ...]:
    """The requests that a model of this scope gets: INSTANCE one file each, SERIES and STUDY (EXAM) all files of one.

    Where the scope is not known, a series of several files is asked about by its first file, and then whole.
    """
    if scope == "INSTANCE":
        return tuple(TrialRequest(file.name, (file,)) for file in files)
    groups: dict[str | None, list[InputFile]] = {}
    for file in files:
        uid = file.instance.study_uid if scope in ("STUDY", "EXAM") else file.instance.series_uid
        groups.setdefault(uid or file.name, []).append(file)
    return tuple(request for group in groups.values() for request in _requests(group, is_known=scope is not None))


def _requests(group: list[InputFile], *, is_known: bool) -> Iterator[TrialRequest]:
    first, more = group[0], len(group) - 1
    if not more or not is_known:
        yield TrialRequest(first.name, (first,))
    if more:
        yield TrialRequest(f"{first.name} and {more} more", tuple(group))


def _walked(folder: Path) -> Iterator[InputFile]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and (kind := recognise(_head(path))) and (file := _file(path, kind)):
                yield file


def _named(path: Path) -> Iterator[InputFile]:
    kind = recognise(_head(path))
    if not kind:
        raise InputError(f"--input: {path} is not {_KINDS} by its content. Name files that the model is made for.")
    file = _file(path, kind)
    if file is None:
        raise InputError(f"--input: {path} is a DICOMDIR, which holds no image. Name the folder beside it.")
    yield file


def _head(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(f"--input: {path} is longer than 4 GiB, the most that a request can carry in one file.")
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--input: {path} cannot be read: {reason}. Check the path.") from error


def _file(path: Path, kind: str) -> InputFile | None:
    """None for a DICOMDIR."""
    if kind != DICOM:
        return _picture(path, kind)
    header = _header(path)
    if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return None
    return InputFile(str(path), path, kind, instance_of(header))


def _picture(path: Path, kind: str) -> InputFile:
    folder = os.path.realpath(path.parent)
    study, series = (str(generate_uid(entropy_srcs=[level, folder])) for level in ("study", "series"))
    instance = str(generate_uid(entropy_srcs=["instance", folder, path.name]))
    tags = {
        "PatientID": "UNKNOWN",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "SOPInstanceUID": instance,
        "Modality": "OT",
    }
    if kind == "video/mp4":
        return InputFile(str(path), path, kind, Instance(study, series, instance, frames=None), tags)
    with path.open("rb") as file:
        rows, columns = picture_size(file) or (None, None)
    return InputFile(str(path), path, kind, Instance(study, series, instance, rows, columns), tags)


def _header(path: Path) -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about values that do not keep to the standard, as many files' do
        try:
            return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
        except Exception as error:  # pydicom raises whatever a broken header makes it trip over
            raise InputError(
                f"--input: {path} begins like a DICOM file and its header cannot be read: {error}."
            ) from error


def instance_of(dataset: pydicom.Dataset) -> Instance:
    """What a DICOM header says."""
    texts = [dataset.get(keyword) for keyword in _KEYWORDS[:3]]
    numbers = [_count(dataset.get(keyword)) for keyword in _KEYWORDS[3:]]
    study, series, instance = (str(text) if text else None for text in texts)
    return Instance(study, series, instance, numbers[0], numbers[1], numbers[2] or 1)


def _count(value: object) -> int | None:
    try:
        return int(str(value)) if value is not None else None
    except ValueError:
        return None
