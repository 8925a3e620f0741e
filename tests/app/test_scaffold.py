"""`mdai-model init` writes a package that runs as it is, and never over anything."""

import importlib.util
import zipfile
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from app.scaffold import TEMPLATE, write_package

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "app" / "template"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package as `init` writes it."""
    write_package(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def template(package: Path) -> ModuleType:
    """The package's mdai_deploy, imported."""
    spec = importlib.util.spec_from_file_location("mdai_deploy", package / ".mdai" / "mdai_deploy.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dicom(pixels: np.ndarray[Any, Any], **elements: Any) -> bytes:
    """A DICOM file with `pixels` (uint8; rows x columns, frames in front, colour behind) and `elements`."""
    dataset = pydicom.Dataset()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.SOPInstanceUID, dataset.SOPClassUID = "1.2.3.4.5", generate_uid()
    dataset.Rows, dataset.Columns = elements.pop("shape", pixels.shape)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = pixels.astype(np.uint8).tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = BytesIO()
    pydicom.dcmwrite(written, dataset, enforce_file_format=True)
    return written.getvalue()


def predict(template: ModuleType, content: bytes, content_type: str = "application/dicom") -> Any:
    files = [{"content": content, "content_type": content_type}]
    return template.MDAIModel().predict({"files": files, "annotations": [], "label_classes": [], "args": {}})


def bright_square() -> np.ndarray[Any, Any]:
    """16 rows by 20 columns, black, but for rows 4 to 9 and columns 5 to 7."""
    pixels = np.zeros((16, 20), np.uint8)
    pixels[4:10, 5:8] = 200
    return pixels


def test_writes_every_file_of_the_template_and_says_which(tmp_path: Path) -> None:
    written = write_package(tmp_path / "deep" / "model")
    there = {path for path in (tmp_path / "deep" / "model").rglob("*") if path.is_file()}
    assert set(written) == there
    assert tmp_path / "deep" / "model" / ".mdai" / "mdai_deploy.py" in there


def test_the_template_folder_holds_nothing_that_init_does_not_write() -> None:
    there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert {name for name in there if "__pycache__" not in name} == set(TEMPLATE)


def test_the_wheel_carries_the_template(tmp_path: Path) -> None:
    wheel = next(WheelBuilder(str(REPOSITORY)).build(directory=str(tmp_path), versions=["standard"]))
    with zipfile.ZipFile(wheel) as archive:
        assert {f"app/template/{name}" for name in TEMPLATE} <= set(archive.namelist())


def test_other_files_in_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_text("weights")
    write_package(tmp_path)
    assert (tmp_path / "weights.pt").read_text() == "weights"


@pytest.mark.parametrize("there", ["README.md", ".mdai/mdai_deploy.py", ".mdai/config.yml"])
def test_refuses_to_overwrite_and_writes_nothing_then(tmp_path: Path, there: str) -> None:
    taken = tmp_path / there
    taken.parent.mkdir(exist_ok=True)
    taken.write_text("mine")
    with pytest.raises(FileExistsError, match="ame another folder"):
        write_package(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [taken]
    assert taken.read_text() == "mine"


def test_refuses_a_link_in_the_place_of_a_file(tmp_path: Path) -> None:
    """A dangling link is not written through."""
    (tmp_path / "README.md").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_package(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_refuses_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("")
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        write_package(tmp_path / "model")


def test_every_line_of_the_config_means_something(package: Path) -> None:
    config = yaml.safe_load((package / ".mdai" / "config.yaml").read_text())
    assert config == {"base_image": "py311", "device_type": "cpu", "env": {"BRIGHT_FRACTION": 0.6}}


def test_the_requirements_ask_for_nothing(package: Path) -> None:
    """What the server installs unasked is enough to run the template."""
    lines = (package / ".mdai" / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == []


def test_the_template_finds_the_bright_region(template: ModuleType) -> None:
    brightness, region = predict(template, dicom(bright_square()))
    assert brightness["class_index"] == 0
    assert brightness["probability"] == pytest.approx(18 / 320)
    assert region["class_index"] == 1
    assert region["data"] == {"x": 5, "y": 4, "width": 3, "height": 6}
    assert {type(value) for value in region["data"].values()} == {int}


def test_the_templates_outputs_say_what_they_belong_to(template: ModuleType) -> None:
    for output in predict(template, dicom(bright_square())):
        assert (output["study_uid"], output["series_uid"]) == ("1.2.3", "1.2.3.4")
        assert (output["instance_uid"], type(output["instance_uid"])) == ("1.2.3.4.5", str)


def test_the_template_takes_colour_and_many_frames(template: ModuleType) -> None:
    square = bright_square()
    colour = dicom(
        np.repeat(square[..., None], 3, axis=-1),
        shape=square.shape,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
    )
    frames = dicom(np.stack([square, square]), shape=square.shape, NumberOfFrames=2)
    for content in (colour, frames):
        assert predict(template, content)[1]["data"] == {"x": 5, "y": 4, "width": 3, "height": 6}


def test_the_template_takes_an_image_without_any_contrast(template: ModuleType) -> None:
    [brightness] = predict(template, dicom(np.full((8, 8), 7)))
    assert brightness["probability"] == 0.0


def test_the_template_skips_what_is_no_dicom(template: ModuleType) -> None:
    assert predict(template, b"\x89PNG", "image/png") == []
