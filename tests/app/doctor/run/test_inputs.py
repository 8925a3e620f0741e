"""Files given to the doctor as requests: told by content, grouped as the model's scope asks, known by their headers."""

import os
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from app.doctor.run.inputs import DICOM, InputError, Instance, given_requests, read_inputs
from app.doctor.run.picture_size import picture_size
from app.doctor.run.synthetic import ct_series, dx_instance

MP4 = b"\0\0\0\x18ftypmp42" + b"\0" * 200


def write(path: Path, content: bytes | Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Dataset):
        content.save_as(path, enforce_file_format=True)
    else:
        path.write_bytes(content)
    return path


def picture(kind: str, size: tuple[int, int] = (5, 3), **options: object) -> bytes:
    content = BytesIO()
    Image.new("RGB", size).save(content, kind, **options)
    return content.getvalue()


def deflated_badly() -> bytes:
    """A header that says that the rest is deflated, and a rest that is not."""
    dataset = Dataset()
    dataset.file_meta = dx_instance().file_meta
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()[:-2] + b"\xff" * 9


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder as people have them: two series, pictures, and what is none of these."""
    folder = tmp_path / "study"
    for number in (1, 2):
        for dataset in ct_series(number)[:2]:
            write(folder / f"series{number}/{dataset.InstanceNumber}", dataset)
    write(folder / "pictures/a.png", picture("PNG"))
    write(folder / "pictures/b.jpg", picture("JPEG"))
    write(folder / "pictures/c.mp4", MP4)
    write(folder / "readme.txt", b"not an image")
    write(folder / "empty", b"")
    directory = dx_instance()
    directory.SOPClassUID = directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    write(folder / "INDEX", directory)
    return folder


def test_a_folder_s_files_are_told_by_their_content(study: Path) -> None:
    files = read_inputs([study])
    names = [os.path.relpath(file.name, study) for file in files]
    assert names == [f"pictures/{name}" for name in ("a.png", "b.jpg", "c.mp4")] + [
        f"series{number}/{instance}" for number in (1, 2) for instance in (1, 2)
    ]
    assert [file.content_type for file in files] == ["image/png", "image/jpeg", "video/mp4", *[DICOM] * 4]


def test_a_file_that_is_named_twice_counts_once(study: Path) -> None:
    one = study / "series1/1"
    assert [file.name for file in read_inputs([one, study / "series1", one])] == [str(one), str(study / "series1/2")]


def test_what_a_header_says_is_known_of_a_file(study: Path) -> None:
    files = {os.path.relpath(file.name, study): file for file in read_inputs([study])}
    dataset = ct_series(1)[0]
    uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    assert files["series1/1"].instance == Instance(*uids, rows=192, columns=256, frames=1)
    assert files["series1/1"].dicom_tags is None
    assert [files[f"pictures/{name}"].instance.size for name in ("a.png", "b.jpg", "c.mp4")] == [(3, 5), (3, 5), None]
    assert files["pictures/c.mp4"].instance.frames is None


def test_frames_are_counted_and_odd_counts_are_unknown(tmp_path: Path) -> None:
    cine = dx_instance()
    cine.NumberOfFrames = 20
    [file] = read_inputs([write(tmp_path / "cine", cine)])
    assert file.instance.frames == 20
    bare = Dataset()
    bare.file_meta = cine.file_meta
    [file] = read_inputs([write(tmp_path / "bare", bare)])
    assert file.instance == Instance()


def test_pictures_get_uids_that_stay_the_same(study: Path) -> None:
    """One folder's make one series."""
    first, second, _ = (file.message() for file in read_inputs([study / "pictures"]))
    again = read_inputs([study / "pictures/a.png"])[0].message()
    assert first == again
    keys = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    same = [first["dicom_tags"][key] == second["dicom_tags"][key] for key in keys]
    assert same == [True, True, False]
    assert all(pydicom.uid.UID(first["dicom_tags"][key]).is_valid for key in keys)
    assert first["content"] == (study / "pictures/a.png").read_bytes()


@pytest.mark.parametrize(
    ("scope", "counts"),
    [
        ("INSTANCE", [1, 1, 1, 1]),
        ("SERIES", [2, 2]),
        ("STUDY", [4]),
        ("EXAM", [4]),
        (None, [1, 2, 1, 2]),
    ],
)
def test_files_are_sent_together_as_the_scope_asks(study: Path, scope: str | None, counts: list[int]) -> None:
    """Where it is not known, a series is asked about by its first file and then whole."""
    requests = given_requests(read_inputs([study / "series1", study / "series2"]), scope)
    assert [len(request.files) for request in requests] == counts
    assert requests[-1].name == str(study / "series2/2" if scope == "INSTANCE" else requests[-1].files[0].name) + (
        "" if counts[-1] == 1 else f" and {counts[-1] - 1} more"
    )


def test_files_without_uids_are_sent_one_by_one(tmp_path: Path) -> None:
    bare = Dataset()
    bare.file_meta = dx_instance().file_meta
    files = read_inputs([write(tmp_path / name, bare) for name in ("a", "b")])
    assert [len(request.files) for request in given_requests(files, "SERIES")] == [1, 1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing", None, "cannot be read: No such file or directory. Check the path."),
        ("notes.dcm", b"text", "is not DICOM, JPEG, PNG or MP4 by its content."),
        ("broken.dcm", deflated_badly(), "begins like a DICOM file and its header cannot be read: Error -3 while"),
        ("folder", "", "holds no file that is DICOM, JPEG, PNG or MP4 by its content."),
        ("nul\0byte", None, "cannot be read: embedded null byte"),
    ],
)
def test_a_path_that_cannot_be_used_ends_it_with_a_sentence(
    tmp_path: Path, name: str, content: bytes | str | None, says: str
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    with pytest.raises(InputError) as caught:
        read_inputs([path])
    assert str(caught.value).startswith(f"--input: {path} ") and says in str(caught.value)


def test_a_dicomdir_is_no_image(study: Path) -> None:
    with pytest.raises(InputError, match="is a DICOMDIR, which holds no image"):
        read_inputs([study / "INDEX"])


@pytest.mark.parametrize(
    "content",
    [
        picture("PNG", (300, 7)),
        picture("JPEG", (300, 7)),
        picture("JPEG", (300, 7), progressive=True),
        picture("JPEG", (300, 7), comment=b"\xff\xc0 in a comment", exif=Image.Exif()),
        # Tables before the frame, and more bytes between segments than are needed.
        b"\xff\xd8\xff\xc4\0\x07\0\1\0\1\0\xff\xff\xff\xc1\0\x0b\x08\0\x07\1\x2c\1\1\x11\0",
    ],
    ids=["png", "baseline", "progressive", "with comments", "tables first"],
)
def test_the_size_of_a_picture_is_in_its_header(content: bytes) -> None:
    assert picture_size(BytesIO(content)) == (7, 300)


def test_a_picture_that_is_cut_off_has_no_size_or_its_own() -> None:
    for kind in ("PNG", "JPEG"):
        content = picture(kind, (300, 7))
        assert {picture_size(BytesIO(content[:end])) for end in range(len(content))} == {None, (7, 300)}
