"""DICOM made from nothing: what a model may count on in it."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from app.doctor.run.synthetic import CT_SHAPE, CT_SLICES, DX_SHAPE, as_file, ct_series, dx_instance, synthetic_requests
from tests.interpreters import interpreter

#: What models commonly look at.
COMMON = """
PatientID PatientName PatientAge PatientSex StudyInstanceUID SeriesInstanceUID SOPInstanceUID SOPClassUID Modality
StudyDate SeriesDescription SeriesNumber InstanceNumber Rows Columns SamplesPerPixel PhotometricInterpretation
BitsAllocated BitsStored PixelRepresentation PixelSpacing RescaleSlope RescaleIntercept WindowCenter WindowWidth
BodyPartExamined
"""
COMMON_CT = "SliceThickness SliceLocation ImagePositionPatient ImageOrientationPatient FrameOfReferenceUID KVP"


def read_back(dataset: pydicom.Dataset) -> pydicom.FileDataset:
    content = as_file(dataset).content
    assert isinstance(content, bytes)
    return pydicom.dcmread(BytesIO(content))


@pytest.mark.parametrize(
    ("scope", "counts"), [("INSTANCE", [1, 1]), ("SERIES", [5]), ("STUDY", [10]), ("EXAM", [10]), (None, [1, 1, 5])]
)
def test_a_model_is_asked_as_its_scope_says(scope: str | None, counts: list[int]) -> None:
    requests = synthetic_requests(scope)
    assert [len(request.files) for request in requests] == counts
    assert all(request.is_synthetic for request in requests)
    for request in requests:
        assert len({instance.instance_uid for instance in request.instances}) == len(request.files)
        assert len({instance.study_uid for instance in request.instances}) == 1
        assert len({instance.series_uid for instance in request.instances}) == (2 if counts == [10] else 1)


def test_the_images_are_always_the_same() -> None:
    first, again = ([file.content for file in synthetic_requests(None)[2].files] for _ in range(2))
    assert first == again


def test_what_models_commonly_look_at_is_there() -> None:
    for dataset, keywords in ((read_back(ct_series(1)[0]), COMMON + COMMON_CT), (read_back(dx_instance()), COMMON)):
        assert [keyword for keyword in keywords.split() if dataset.get(keyword) in (None, "")] == []


def test_the_slices_of_a_series_lie_in_order_at_one_distance() -> None:
    series = [read_back(dataset) for dataset in ct_series(1)]
    assert [each.InstanceNumber for each in series] == list(range(1, CT_SLICES + 1))
    steps = np.diff([float(each.ImagePositionPatient[2]) for each in series])
    assert set(steps) == {float(series[0].SliceThickness)}


def test_a_slice_holds_air_lung_and_bone_in_hounsfield_units() -> None:
    dataset = read_back(ct_series(1)[2])
    values = dataset.pixel_array * dataset.RescaleSlope + dataset.RescaleIntercept
    assert dataset.pixel_array.dtype == np.int16 and values.shape == CT_SHAPE
    rows, columns = CT_SHAPE
    assert values[2, 2] < -950
    assert -900 < values[rows // 2, columns * 34 // 100] < -800
    assert values[rows * 78 // 100, columns // 2] > 500


def test_a_radiograph_is_higher_than_wide_and_its_lungs_are_dark() -> None:
    pixels = read_back(dx_instance()).pixel_array
    rows, columns = DX_SHAPE
    assert pixels.shape == DX_SHAPE and rows > columns and pixels.max() < 4096
    assert pixels[rows * 47 // 100, columns * 70 // 100] < pixels[rows * 47 // 100, columns // 2] / 2


def test_no_side_is_as_long_as_another() -> None:
    """So that exchanged axes show."""
    assert CT_SHAPE[0] != CT_SHAPE[1] and DX_SHAPE[0] != DX_SHAPE[1]


@pytest.mark.parametrize("series", ["3.7", "3.13"])
def test_the_oldest_and_the_newest_pydicom_read_them(series: str, tmp_path: Path) -> None:
    """Without a warning. pydicom 2 is what models on old Pythons have."""
    for index, file in enumerate(synthetic_requests(None)[1].files + synthetic_requests("SERIES")[0].files):
        assert isinstance(file.content, bytes)
        (tmp_path / f"{index}.dcm").write_bytes(file.content)
    venv = tmp_path / "venv"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "-q", "-p", interpreter(series), venv], check=True)
    subprocess.run([uv, "pip", "install", "-q", "-p", venv / "bin/python", "pydicom", "numpy"], check=True)
    program = (
        "import glob, sys, pydicom\n"
        "for path in glob.glob(sys.argv[1] + '/*.dcm'):\n"
        "    ds = pydicom.dcmread(path)\n"
        "    assert ds.pixel_array.shape == (ds.Rows, ds.Columns) and ds.PixelSpacing[0] > 0\n"
        "print(pydicom.__version__)\n"
    )
    said = subprocess.run([venv / "bin/python", "-W", "error", "-c", program, tmp_path], capture_output=True, text=True)
    assert said.stderr == "" and said.stdout.startswith("2." if series == "3.7" else "3.")
