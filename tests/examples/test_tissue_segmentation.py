"""The tissue segmentation: what its sources promise, what its weights may hold, and what it answers to a series.

The answers need an interpreter with torch, numpy, pydicom and pillow, which whoever develops the server does not have:
one of this machine's, or the one that MDAI_TEST_TORCH names.
"""

import ast
import functools
import os
import pickletools
import re
import subprocess
import sys
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from model_loader.interpreters import available_interpreters
from model_loader.package import open_package
from tests.hosting import Hosted
from tests.interpreters import cache_with_runtimes

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples" / "tissue-segmentation"
SOURCES = (EXAMPLE / ".mdai" / "mdai_deploy.py", EXAMPLE / "unet.py", EXAMPLE / "train.py")
#: What requirements.txt calls otherwise than Python does.
DISTRIBUTIONS = {"PIL": "pillow"}
#: Less than this on held-out slices, for either tissue, and something broke in the training.
LEAST_DICE = 0.96


def imported(source: Path) -> set[str]:
    """The first part of the name of everything that a file imports and Python itself does not bring."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names


def calls(source: Path, name: str) -> list[ast.Call]:
    """Every call in a file of what is written `name` there."""
    nodes = ast.walk(ast.parse(source.read_text()))
    return [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == name]


def test_it_is_a_package_for_python_3_11_without_a_gpu(tmp_path: Path) -> None:
    package = open_package(EXAMPLE, scratch=tmp_path)
    assert (package.root, package.warnings) == (EXAMPLE, ())
    assert (package.config.base_image, package.config.device_type) == ("py311", "cpu")


def test_the_requirements_list_what_the_model_imports() -> None:
    listed = re.findall(r"^[a-z-]+", (EXAMPLE / ".mdai" / "requirements.txt").read_text(), re.MULTILINE)
    wanted = imported(SOURCES[0]) | imported(SOURCES[1])
    assert {DISTRIBUTIONS.get(name, name) for name in wanted} - {"unet"} <= set(listed)


def test_the_training_says_what_it_needs() -> None:
    needs = ast.get_docstring(ast.parse(SOURCES[2].read_text())) or ""
    wanted = {DISTRIBUTIONS.get(name, name) for name in imported(SOURCES[2]) | imported(SOURCES[1])}
    # numpy comes with nilearn.
    assert [name for name in sorted(wanted - {"unet", "numpy"}) if name not in needs] == []


def test_weights_are_loaded_on_any_machine_and_run_nothing() -> None:
    [load] = [call for source in SOURCES for call in calls(source, "torch.load")]
    arguments = {each.arg: ast.literal_eval(each.value) for each in load.keywords}
    assert arguments == {"map_location": "cpu", "weights_only": True}


def test_the_weights_are_small_and_nothing_but_numbers() -> None:
    """The file is read as a pickle is, without running it: every name in it belongs to tensors."""
    weights = EXAMPLE / "weights.pt"
    assert weights.stat().st_size < 300_000
    with zipfile.ZipFile(weights) as archive:
        [pickled] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        operations = list(pickletools.genops(archive.read(pickled)))
    names = {argument for operation, argument, _ in operations if operation.name == "GLOBAL"}
    tensors = {"torch._utils _rebuild_tensor_v2", "torch HalfStorage", "torch LongStorage"}
    assert tensors <= names <= tensors | {"collections OrderedDict"}
    assert not any(operation.name == "STACK_GLOBAL" for operation, _, _ in operations)


def test_no_slice_to_train_on_lies_near_one_that_is_held_out() -> None:
    """The split as train.py makes it, taken out of that file, which itself needs nilearn and torch."""
    parts = [
        node
        for node in ast.parse(SOURCES[2].read_text()).body
        if (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple))
        or (isinstance(node, ast.FunctionDef) and node.name == "split")
    ]
    namespace: dict[str, Any] = {"np": np}
    exec(compile(ast.Module(parts, []), "train.py", "exec"), namespace)
    heights = np.arange(-63, 80)
    training, held_out = namespace["split"](heights)
    distances = np.abs(heights[training][:, None] - heights[held_out][None])
    assert distances.min() > namespace["GAP"] >= 3
    assert len(training) > 2 * len(held_out) and len(held_out) > 20


def test_the_readme_records_the_held_out_dice_and_what_it_proves() -> None:
    text = (EXAMPLE / "README.md").read_text()
    found = re.search(r"held-out Dice: grey matter (0\.\d+), white matter (0\.\d+)", text)
    assert found is not None
    assert min(float(found[1]), float(found[2])) > LEAST_DICE
    assert "one average brain" in text and "no clinical claim" in text


def test_the_picture_in_the_readme_is_there_and_small() -> None:
    [link] = re.findall(r"!\[[^]]*\]\(([^)]*\.jpg)\)", (EXAMPLE / "README.md").read_text())
    picture = (EXAMPLE / link).resolve()
    assert picture == REPOSITORY / "docs" / "tissue-segmentation.jpg"
    assert picture.stat().st_size < 60_000
    with Image.open(picture) as image:
        image.verify()


# The rest asks the model itself.


@functools.cache
def python_with_torch() -> Path | None:
    """An interpreter of this machine that has what the package imports."""
    named = os.environ.get("MDAI_TEST_TORCH")
    candidates = [Path(named)] if named else []
    candidates += [found.path for found in available_interpreters(environ=os.environ) if found.series == "3.11"]
    finds = "import importlib.util as u; print(all(map(u.find_spec, ['torch', 'numpy', 'pydicom', 'PIL'])))"
    for candidate in [*candidates, Path(sys.executable)]:
        said = subprocess.run([candidate, "-I", "-c", finds], capture_output=True, text=True)
        if said.stdout.strip() == "True":
            return candidate
    return None


#: Rows, columns, and millimetres between rows and between columns: not the sizes that the network learned from.
SHAPE, SPACING = (180, 150), (1.25, 1.4)
BACKGROUND, FLUID, GREY, WHITE = 0.0, 0.3, 0.62, 0.9


def phantom(size: float) -> np.ndarray:
    """A head of which only fluid, a cortex and a core are left, as a (rows, columns) picture in 0 to 1."""
    rows, columns = np.indices(SHAPE)
    down, across = (rows - SHAPE[0] / 2) * SPACING[0] / 85, (columns - SHAPE[1] / 2) * SPACING[1] / 70
    angle = np.arctan2(down, across)
    distance = np.hypot(down, across) / max(size, 1e-6)
    folds = 0.78 + 0.06 * np.sin(9 * angle)  # of the cortex, over the white matter
    picture = np.where(distance < 1, FLUID, BACKGROUND)
    picture = np.where(distance < folds + 0.14, GREY, picture)
    return np.where(distance < folds, WHITE, picture)


def mr_slice(picture: np.ndarray, number: int) -> Dataset:
    """A slice as MR: noisy, on a scale of its own, 5 mm above the one before; `number` counts from the feet."""
    noise = np.random.default_rng(number).normal(0, 0.02, (2, *picture.shape))
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.Modality = MRImageStorage, "MR"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2", "1.2.3"
    dataset.SOPInstanceUID = f"1.2.3.{number}"
    dataset.InstanceNumber = 100 - number  # counted from the head, so that only the position gives the order
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 5 * number]
    dataset.PixelSpacing = list(SPACING)
    dataset.Rows, dataset.Columns = picture.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelData = (np.hypot(picture + noise[0], noise[1]) * 700).astype("<u2").tobytes()
    return dataset


def as_file(dataset: Dataset) -> dict[str, Any]:
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return {"content": content.getvalue(), "content_type": "application/dicom"}


def strangers() -> list[Dataset]:
    """A slice that is no MR, one with frames, one whose pixels nobody can decode."""
    tomogram, cine, broken = (mr_slice(phantom(1), number) for number in (201, 202, 203))
    tomogram.Modality, tomogram.SOPClassUID = "CT", CTImageStorage
    cine.NumberOfFrames, cine.PixelData = 2, cine.PixelData * 2
    broken.PixelData = broken.PixelData[:10]
    for each in (tomogram, cine, broken):
        each.SeriesInstanceUID = generate_uid(entropy_srcs=[each.SOPInstanceUID])
    return [tomogram, cine, broken]


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth)))


def test_a_series_gets_masks_a_probability_and_one_explanation(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In a real worker: slices out of order, of other sizes than the network's, among files that it must leave out."""
    python = python_with_torch()
    if python is None:
        pytest.skip("torch is not installed: MDAI_TEST_TORCH may name a Python that has it")
    pictures = {1: phantom(0.6), 2: phantom(1), 3: phantom(0.8), 4: phantom(0)}
    slices = [as_file(mr_slice(pictures[number], number)) for number in (3, 1, 4, 2)]
    others = [{"content": b"P6", "content_type": "image/png"}, {"content": b"no", "content_type": "application/dicom"}]
    files = [*(as_file(each) for each in strangers()), *slices, *others]
    with (
        # Not below `tmp_path`: a worker's TMPDIR must be short.
        tempfile.TemporaryDirectory(prefix="runs-") as runs,
        Hosted(EXAMPLE, Path(runs), cache=cache_with_runtimes(tmp_path, tmp_path_factory), environment=python) as host,
    ):
        host.start()
        outputs = host.predict({"files": files}).outputs
        white_only = host.predict({"files": slices, "args": {"classes": "wm"}}).outputs

    left_out = [output["note"] for output in outputs if output["type"] == "NONE"]
    assert [note.partition(":")[0] for note in left_out] == [
        "not an MR image",
        "not a single slice",
        "its pixels cannot be read",
    ]
    masks = [output for output in outputs if output["type"] == "ANNOTATION"]
    places = [(output["instance_uid"], output["class_index"]) for output in masks]
    assert places == [(f"1.2.3.{number}", index) for number in (1, 2, 3) for index in (0, 1)]
    for output in masks:
        mask = np.array(output["data"]["mask"])
        number = int(output["instance_uid"].rpartition(".")[2])
        assert mask.shape == SHAPE
        assert dice(mask > 0, pictures[number] == (GREY, WHITE)[output["class_index"]]) > 0.85, places
    assert len({output["probability"] for output in masks}) == 1
    assert 0.5 < masks[0]["probability"] < 1
    [explained] = [output for output in masks if output.get("explanations")]
    assert explained["instance_uid"] == "1.2.3.2", "the slice with most tissue"
    [explanation] = explained["explanations"]
    assert explanation["content_type"] == "image/png"
    with Image.open(BytesIO(explanation["content"])) as image:
        assert image.mode == "RGB" and image.width > image.height
    assert {output["class_index"] for output in white_only} == {1}
