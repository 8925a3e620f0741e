"""DICOM made from nothing, to ask a model about when there is no image at hand: a body in a CT scanner, and a chest.

The images are no patient's and always the same. They are wider than high or higher than wide, so that exchanged axes
show; uncompressed, so that every decoder reads them; and carry what models commonly look at.
"""

from io import BytesIO

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from app.doctor.run.inputs import DICOM, InputFile, TrialRequest, instance_of

CT_SHAPE = (192, 256)
CT_SLICES = 5
DX_SHAPE = (320, 256)
_CT_SPACING = 1.5
_CT_STEP = 5.0
_DX_SPACING = 1.25
_DAY = "20200102"

Picture = npt.NDArray[np.float64]


def synthetic_requests(scope: str | None) -> tuple[TrialRequest, ...]:
    """What a model of this scope is asked: INSTANCE a slice, then a radiograph; SERIES a series; STUDY (EXAM) two.

    Where the scope is not known: a slice, a radiograph, a series.
    """
    series = ct_series(1)
    slice_only = _request("a made-up CT slice", series[CT_SLICES // 2 : CT_SLICES // 2 + 1])
    radiograph = _request("a made-up radiograph", [dx_instance()])
    whole = _request(f"a made-up CT series of {CT_SLICES} slices", series)
    if scope in ("STUDY", "EXAM"):
        return (_request("a made-up CT study of two series", [*series, *ct_series(2)]),)
    if scope == "SERIES":
        return (whole,)
    return (slice_only, radiograph) if scope == "INSTANCE" else (slice_only, radiograph, whole)


def ct_series(number: int) -> list[Dataset]:
    """The slices of the series with this number in the study, feet first."""
    return [_ct_slice(number, index) for index in range(1, CT_SLICES + 1)]


def dx_instance() -> Dataset:
    """A radiograph of a chest from behind, bones bright."""
    dataset = _instance("DX", DigitalXRayImageStorageForPresentation, series=1, instance=1)
    dataset.SeriesDescription, dataset.StudyDescription = "Chest PA", "Made-up chest"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PresentationIntentType, dataset.PresentationLUTShape = "FOR PRESENTATION", "IDENTITY"
    dataset.ViewPosition, dataset.PatientOrientation = "PA", ["L", "F"]
    dataset.ImageLaterality, dataset.DetectorType, dataset.PositionerType = "U", "", ""
    dataset.AnatomicRegionSequence, dataset.AcquisitionContextSequence = [_chest_code()], []
    dataset.PixelSpacing = dataset.ImagerPixelSpacing = [_DX_SPACING, _DX_SPACING]
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.LossyImageCompression, dataset.BurnedInAnnotation = "00", "NO"
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    _set_pixels(dataset, _chest(), bits=12, is_signed=False)
    return dataset


def as_file(dataset: Dataset) -> InputFile:
    """The instance as a file of a request."""
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    name = f"{dataset.Modality} {dataset.SeriesNumber}-{dataset.InstanceNumber}"
    return InputFile(name, content.getvalue(), DICOM, instance_of(dataset))


def _chest_code() -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "51185008", "SCT", "Chest"
    return code


def _request(name: str, datasets: list[Dataset]) -> TrialRequest:
    return TrialRequest(name, tuple(map(as_file, datasets)), is_synthetic=True)


def _instance(modality: str, sop_class: UID, *, series: int, instance: int) -> Dataset:
    """Everything but the image."""
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.StudyInstanceUID = _uid(modality, "study")
    dataset.SeriesInstanceUID = _uid(modality, "series", series)
    dataset.SOPInstanceUID = _uid(modality, "series", series, "instance", instance)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.Modality, dataset.BodyPartExamined = modality, "CHEST"
    dataset.PatientID, dataset.PatientName = "MADE-UP", "Made-up^Phantom"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "19700101", "O", "050Y"
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "1", ""
    for kind in ("Study", "Series", "Acquisition", "Content"):
        setattr(dataset, f"{kind}Date", _DAY)
        setattr(dataset, f"{kind}Time", "120000")
    dataset.Manufacturer, dataset.ManufacturerModelName = "none", "made up"
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.AcquisitionNumber = series, instance, 1
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _ct_slice(series: int, number: int) -> Dataset:
    dataset = _instance("CT", CTImageStorage, series=series, instance=number)
    rows, columns = CT_SHAPE
    place = (number - 1) * _CT_STEP
    dataset.SeriesDescription, dataset.StudyDescription = f"Axial {series}", "Made-up CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientPosition, dataset.PositionReferenceIndicator = "HFS", ""
    dataset.FrameOfReferenceUID = _uid("CT", "frame")
    dataset.ImagePositionPatient = [-columns / 2 * _CT_SPACING, -rows / 2 * _CT_SPACING, place]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.SliceLocation, dataset.SliceThickness, dataset.SpacingBetweenSlices = place, _CT_STEP, _CT_STEP
    dataset.PixelSpacing = [_CT_SPACING, _CT_SPACING]
    dataset.KVP, dataset.ConvolutionKernel, dataset.GantryDetectorTilt = 120, "STANDARD", 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    _set_pixels(dataset, _body(series, number) + 1024, bits=16, is_signed=True)
    return dataset


def _set_pixels(dataset: Dataset, picture: Picture, *, bits: int, is_signed: bool) -> None:
    dataset.Rows, dataset.Columns = picture.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = int(is_signed)
    highest = 2 ** (bits - is_signed) - 1
    dataset.PixelData = picture.round().clip(0, highest).astype("<i2" if is_signed else "<u2").tobytes()


def _body(series: int, number: int) -> Picture:
    """Hounsfield units of a slice: air, fat, muscle, two lungs, heart, spine, ribs, the table, and noise."""
    picture = np.full(CT_SHAPE, -1000.0)
    breath = 1 + 0.03 * (number - CT_SLICES / 2)
    picture[_ellipse(CT_SHAPE, 0.52, 0.5, 0.40, 0.40)] = -100
    picture[_ellipse(CT_SHAPE, 0.52, 0.5, 0.37, 0.375)] = 50
    for side in (0.34, 0.66):
        picture[_ellipse(CT_SHAPE, 0.50, side, 0.25 * breath, 0.12 * breath)] = -850
    picture[_ellipse(CT_SHAPE, 0.44, 0.53, 0.13, 0.09)] = 60
    picture[_ellipse(CT_SHAPE, 0.78, 0.5, 0.07, 0.045)] = 600
    for side in (0.16, 0.84):
        picture[_ellipse(CT_SHAPE, 0.52, side, 0.05, 0.012)] = 500
    picture[int(0.95 * CT_SHAPE[0]) :, 30:-30] = -300
    return picture + _noise(CT_SHAPE, 12, series, number)


def _chest() -> Picture:
    """Stored values of a radiograph: two dark lungs, a bright heart, spine and ribs, and noise."""
    picture = np.full(DX_SHAPE, 300.0)
    picture[_ellipse(DX_SHAPE, 0.62, 0.5, 0.60, 0.47)] = 2200
    for side in (0.30, 0.70):
        picture[_ellipse(DX_SHAPE, 0.47, side, 0.32, 0.16)] = 900
    for height in np.linspace(0.22, 0.70, 8):
        for side in (0.30, 0.70):
            picture[_ellipse(DX_SHAPE, height, side, 0.012, 0.17)] += 350
    picture[:, int(0.46 * DX_SHAPE[1]) : int(0.54 * DX_SHAPE[1])] += 600
    picture[_ellipse(DX_SHAPE, 0.62, 0.57, 0.15, 0.16)] = 2500
    picture[_ellipse(DX_SHAPE, 0.95, 0.5, 0.18, 0.46)] = 2700
    return picture + _noise(DX_SHAPE, 40, 0)


def _ellipse(shape: tuple[int, int], row: float, column: float, height: float, width: float) -> npt.NDArray[np.bool_]:
    """The pixels of an ellipse; centre and half axes in parts of the image's height and width."""
    down, right = np.ogrid[: shape[0], : shape[1]]
    inside: npt.NDArray[np.bool_] = ((down / shape[0] - row) / height) ** 2 + (
        (right / shape[1] - column) / width
    ) ** 2 <= 1
    return inside


def _noise(shape: tuple[int, int], deviation: float, *seed: int) -> Picture:
    return np.random.default_rng(seed).normal(0, deviation, shape)


def _uid(*parts: object) -> UID:
    return generate_uid(entropy_srcs=["mdai-model made-up image", *map(str, parts)])
