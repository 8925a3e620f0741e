"""Finds grey and white matter on axial T1-weighted MR slices of a brain whose skull was removed.

Made for whole series: one intensity scale holds for all slices, one probability says how sure the network was of
the series, and one picture, a Grad-CAM, shows what it looked at.
"""

from collections import defaultdict
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import torch
from PIL import Image
from pydicom.errors import InvalidDicomError
from torch.nn import functional
from unet import GREY, PIXEL_MM, WHITE, load_network, normalised, padded

WEIGHTS = Path(__file__).resolve().parents[1] / "weights.pt"

# By the name that `args` gives it: the number by which the platform knows the class, and the network's channel.
CLASSES = {"gm": (0, GREY), "wm": (1, WHITE)}

# The longest and shortest side of what the network sees, in pixels: a wrong pixel spacing shall not fill the memory.
SIDES = (32, 768)

# A slice of the explanation is shown at least this many pixels wide.
PANEL_WIDTH = 256


@dataclass
class Slice:
    """One MR image: what it belongs to, where it lies along the series, its values and the size of its pixels."""

    uids: dict
    place: tuple
    pixels: np.ndarray  # (rows, columns) of float32
    spacing: tuple  # millimetres between rows, between columns


class MDAIModel:
    """What the server looks for: built once, without arguments; `predict` is called for every request."""

    def __init__(self):
        # torch takes as many threads as OMP_NUM_THREADS says, and the server sets that: nothing to do here.
        self.network = load_network(WEIGHTS)

    def predict(self, data):
        """Answer with a list of outputs: up to two masks per slice, in the order in which the slices lie."""
        names = asked_classes(data["args"])
        outputs, series = [], defaultdict(list)
        for file in data["files"]:
            if file["content_type"] != "application/dicom":
                print(f"skipped a file of type {file['content_type']}: this model reads DICOM only")
                continue
            try:
                dataset = pydicom.dcmread(BytesIO(file["content"]))
                uids = uids_of(dataset)
            except (InvalidDicomError, AttributeError) as error:
                print(f"skipped a file that is no DICOM image: {error}")
                continue
            reason = why_not(dataset)
            if reason:
                outputs.append({"type": "NONE", **uids, "note": reason})
            else:
                series[uids["series_uid"]].append(read_slice(dataset, uids))
        for slices in series.values():
            outputs += self.outputs_for(sorted(slices, key=lambda each: each.place), names)
        return outputs

    def outputs_for(self, slices, names):
        """Outputs for one series, its slices in order."""
        values = normalised([each.pixels for each in slices])
        pictures = [to_network(each, slice_.spacing) for each, slice_ in zip(values, slices, strict=True)]
        found = [self.segment(picture, each.pixels.shape) for picture, each in zip(pictures, slices, strict=True)]
        sure = np.concatenate([each for _, each in found])
        confidence = float(sure.mean()) if sure.size else 0.0
        asked = [CLASSES[name][1] for name in names]
        most = int(np.argmax([np.isin(tissue, asked).sum() for tissue, _ in found]))  # the slice to explain

        outputs = []
        for index, (slice_, (tissue, _)) in enumerate(zip(slices, found, strict=True)):
            there = [name for name in names if (tissue == CLASSES[name][1]).any()]
            note = f"slice {index + 1} of {len(slices)}"
            answers = [annotation(slice_, name, tissue, confidence, note) for name in there]
            if answers and index == most:
                answers[0]["explanations"] = [self.explanation(pictures[most], there)]
            outputs += answers
        return outputs

    def segment(self, picture, shape):
        """The tissue of each pixel at the image's own size, (rows, columns) of uint8, and how sure the network is.

        The latter is the softmax of the tissue that was chosen, for the pixels of the brain alone, in one row.
        """
        with torch.inference_mode():
            scores = self.network(padded(picture))[:, :, : picture.shape[2], : picture.shape[3]]
            likelihoods = functional.interpolate(scores.softmax(dim=1), shape, mode="bilinear", align_corners=False)
            sure, tissue = likelihoods[0].max(dim=0)
        return tissue.numpy().astype(np.uint8), sure[tissue > 0].numpy()

    def grad_cam(self, picture, channel):
        """How strongly each place speaks for a tissue, 0 to 1, at the size of `picture`.

        Grad-CAM for segmentation: the last features, each weighted by the mean gradient of the tissue's score, summed
        over the pixels that were given to the tissue. (Deeper features light up in the air around the head as well.)
        """
        features = self.network.features(padded(picture)).detach().requires_grad_()
        scores = self.network.head(features)[0]
        score = scores[channel][scores.argmax(dim=0) == channel].sum()
        [gradient] = torch.autograd.grad(score, features)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        heat = (weights * features.detach()).sum(dim=1).relu()[0, : picture.shape[2], : picture.shape[3]]
        return (heat / heat.max().clamp(min=1e-6)).numpy()

    def explanation(self, picture, names):
        """A PNG: the slice, and beside it the slice under the Grad-CAM of each tissue."""
        grey = picture[0, 0].numpy().clip(0, 1.2) / 1.2
        panels = [in_colour(grey)]
        panels += [in_colour(grey, self.grad_cam(picture, CLASSES[name][1])) for name in names]
        image = Image.fromarray((np.hstack(panels) * 255).astype(np.uint8))
        scale = max(1, PANEL_WIDTH / grey.shape[1])
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        png = BytesIO()
        image.save(png, "PNG")
        return {
            "name": "Grad-CAM",
            "description": "The slice with most tissue; red is what spoke for: " + ", ".join(names),
            "content": png.getvalue(),
            "content_type": "image/png",
        }


def asked_classes(args):
    """The names of the tissues to look for: `args["classes"]`, such as "gm,wm", or both."""
    names = [name.strip() for name in args.get("classes", ",".join(CLASSES)).split(",")]
    unknown = [name for name in names if name not in CLASSES]
    if unknown:
        raise ValueError(f"args['classes'] names {unknown[0]!r}: the classes are {', '.join(CLASSES)}, comma-separated")
    return [name for name in CLASSES if name in names]


def uids_of(dataset):
    """What an output belongs to, as plain strings."""
    return {
        "study_uid": str(dataset.StudyInstanceUID),
        "series_uid": str(dataset.SeriesInstanceUID),
        "instance_uid": str(dataset.SOPInstanceUID),
    }


def why_not(dataset):
    """Why this file is left out, in words; empty when it is a slice for this model."""
    if dataset.get("Modality") != "MR":
        return f"not an MR image: its modality is {dataset.get('Modality') or 'not given'}"
    if int(dataset.get("NumberOfFrames") or 1) != 1 or dataset.get("SamplesPerPixel", 1) != 1:
        return "not a single slice: more than one frame, or in colour"
    try:
        dataset.pixel_array  # noqa: B018 - decodes it, once: pydicom keeps the array
    except (AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
        return f"its pixels cannot be read: {error}"
    return ""


def read_slice(dataset, uids):
    """A slice as the network's pictures are made from it."""
    pixels = dataset.pixel_array.astype(np.float32)
    pixels = pixels * float(dataset.get("RescaleSlope") or 1) + float(dataset.get("RescaleIntercept") or 0)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":  # stored with white matter dark
        pixels = -pixels
    spacing = [float(each) for each in dataset.get("PixelSpacing") or ()]
    if len(spacing) != 2 or min(spacing) <= 0:  # unknown, or nonsense: take it for what the network knows
        spacing = [PIXEL_MM, PIXEL_MM]
    return Slice(uids, place_of(dataset), pixels, tuple(spacing))


def place_of(dataset):
    """Where a slice lies: its distance along the series' own direction, else its number in the series."""
    number = int(dataset.get("InstanceNumber") or 0)
    position, orientation = dataset.get("ImagePositionPatient"), dataset.get("ImageOrientationPatient")
    if not position or not orientation:
        return 0.0, number
    rows, columns = np.reshape([float(each) for each in orientation], (2, 3))
    return round(float(np.dot(np.cross(rows, columns), [float(each) for each in position])), 3), number


def to_network(picture, spacing):
    """A normalised slice at the network's pixel size: (1, 1, rows, columns)."""
    least, most = SIDES
    sides = [length * step / PIXEL_MM for length, step in zip(picture.shape, spacing, strict=True)]
    size = [min(max(round(side), least), most) for side in sides]
    tensor = torch.from_numpy(picture)[None, None]
    return functional.interpolate(tensor, size, mode="bilinear", align_corners=False, antialias=True)


def annotation(slice_, name, tissue, confidence, note):
    """The mask of one tissue on one slice."""
    class_index, channel = CLASSES[name]
    return {
        "type": "ANNOTATION",
        **slice_.uids,
        "class_index": class_index,
        "probability": confidence,
        # MD.ai's own server wants lists of plain numbers.
        "data": {"mask": (tissue == channel).astype(np.uint8).tolist()},
        "note": note,
    }


def in_colour(grey, heat=None):
    """A (rows, columns) picture in 0 to 1 as RGB; reddened where `heat`, 0 to 1, is high."""
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    if heat is None:
        return picture
    red = np.stack([np.ones_like(heat), 1 - heat, np.zeros_like(heat)], axis=2)  # yellow to red
    return picture + (red - picture) * (0.6 * heat[:, :, None])
