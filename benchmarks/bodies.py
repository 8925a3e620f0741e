"""The requests: nothing, so many bytes, or CT slices that were computed."""

import functools
from collections.abc import Mapping, Sequence
from io import BytesIO

import msgpack
import numpy
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

MB = 1_000_000
_SIZE = 512
_ROOT = "1.2.826.0.1.3680043.10.1561"


def empty() -> bytes:
    """The smallest request that nothing is wrong with: ours warns of one without files, the reference does not."""
    return of_bytes(1)


def of_bytes(count: int) -> bytes:
    """A request with one file of so many bytes, which no page of is zero."""
    block = numpy.random.default_rng(1).integers(0, 256, MB, dtype=numpy.uint8).tobytes()
    content = block * (count // MB) + block[: count % MB]
    return _packed([{"content": content, "content_type": "application/dicom"}])


def slices(count: int, **arguments: str) -> bytes:
    """A request with so many CT slices of a series."""
    files = [{"content": content, "content_type": "application/dicom"} for content in _series(count)]
    return _packed(files, **arguments)


def asking(**arguments: str) -> bytes:
    """A request without files."""
    return _packed([], **arguments)


def _packed(files: Sequence[Mapping[str, object]], **arguments: str) -> bytes:
    packed: bytes = msgpack.packb({"files": files, "annotations": [], "label_classes": [], "args": arguments})
    return packed


@functools.cache
def _series(count: int) -> list[bytes]:
    """Slices of 512 × 512 int16, about 0.5 MB each: an ellipse with noise in air, which shrinks from slice to slice."""
    noise = numpy.random.default_rng(2).normal(0, 12, (_SIZE, _SIZE))
    y, x = numpy.mgrid[-1 : 1 : _SIZE * 1j, -1 : 1 : _SIZE * 1j]
    found = []
    for number in range(count):
        body = (x / 0.8) ** 2 + (y / (0.6 - 0.002 * number)) ** 2 < 1
        spine = x**2 + (y - 0.35) ** 2 < 0.01
        units = numpy.where(body, 40, -1000) + numpy.where(spine, 600, 0) + noise * numpy.where(body, 1, 2)
        found.append(_slice(number, units.astype(numpy.int16)))
    return found


def _slice(number: int, units: "numpy.ndarray[tuple[int, int], numpy.dtype[numpy.int16]]") -> bytes:
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 100"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = f"{_ROOT}.3.{number + 1}"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = (f"{_ROOT}.{n}" for n in (1, 2, 4))
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = "20200101"
    data.StudyTime = data.SeriesTime = data.AcquisitionTime = data.ContentTime = "120000.000000"
    data.AccessionNumber = data.PatientID = data.StudyID = "1"
    data.Modality, data.Manufacturer, data.ManufacturerModelName = "CT", "Nobody", "Computed"
    data.StudyDescription, data.SeriesDescription, data.PatientName = "Computed", "Axial 1.0", "Computed^Slices"
    data.PatientBirthDate, data.PatientSex, data.PatientAge, data.PatientPosition = "19600101", "O", "060Y", "HFS"
    data.SliceThickness, data.KVP, data.XRayTubeCurrent, data.Exposure = 1, 120, 200, 100
    data.ConvolutionKernel, data.GantryDetectorTilt, data.TableHeight = "B30", 0, 150
    data.SeriesNumber, data.AcquisitionNumber, data.InstanceNumber = 2, 1, number + 1
    data.ImagePositionPatient, data.ImageOrientationPatient = [-180, -180, number], [1, 0, 0, 0, 1, 0]
    data.SliceLocation, data.SamplesPerPixel, data.PhotometricInterpretation = number, 1, "MONOCHROME2"
    data.Rows = data.Columns = _SIZE
    data.PixelSpacing, data.BitsAllocated, data.BitsStored, data.HighBit = [0.703125, 0.703125], 16, 16, 15
    data.PixelRepresentation, data.WindowCenter, data.WindowWidth = 1, [40, -600], [400, 1500]
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = 0, 1, "HU"
    data.PixelData = units.tobytes()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()
