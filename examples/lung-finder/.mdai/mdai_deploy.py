"""Finds the right and the left lung on a frontal chest radiograph and answers with a box around each.

Three detectors of the lungs-finder package are tried in turn: HOG, then Haar, then LBP. The first one that
finds both lungs, side by side, is believed.
"""

from io import BytesIO

import cv2
import numpy as np
import pydicom
from lungs_finder import haar_finder, hog_finder, lbp_finder

# The platform knows classes by number; the labels behind the numbers are the project's own.
RIGHT_LUNG = 0  # the patient's right, so on the left of the picture
LEFT_LUNG = 1

DETECTORS = {
    "HOG": (hog_finder.find_right_lung_hog, hog_finder.find_left_lung_hog),
    "Haar": (haar_finder.find_right_lung_haar, haar_finder.find_left_lung_haar),
    "LBP": (lbp_finder.find_right_lung_lbp, lbp_finder.find_left_lung_lbp),
}

# The detectors learned from small pictures: at this size they are at their best, and fast.
LONGEST_SIDE = 512


class MDAIModel:
    """What the server looks for: built once, without arguments; `predict` is called for every request."""

    def predict(self, data):
        """Answer with a list of outputs: two boxes per radiograph, or one NONE that says why not."""
        outputs = []
        for file in data["files"]:
            if file["content_type"] != "application/dicom":
                print(f"skipped a file of type {file['content_type']}: this model reads DICOM only")
                continue
            dataset = pydicom.dcmread(BytesIO(file["content"]))
            outputs += outputs_for(dataset)
        return outputs


def outputs_for(dataset):
    """Outputs for one instance. Each one says by its UIDs what it belongs to."""
    uids = {
        "study_uid": str(dataset.StudyInstanceUID),
        "series_uid": str(dataset.SeriesInstanceUID),
        "instance_uid": str(dataset.SOPInstanceUID),
    }
    if int(dataset.get("NumberOfFrames", 1)) != 1 or dataset.SamplesPerPixel != 1:
        return [{"type": "NONE", **uids, "note": "not a radiograph: more than one frame, or in colour"}]

    boxes, method = find_lungs(to_8_bit(dataset))
    if not boxes:
        return [{"type": "NONE", **uids, "note": "no detector found two lungs side by side"}]
    return [
        {"type": "ANNOTATION", **uids, "class_index": class_index, "data": box, "note": f"found by {method}"}
        for class_index, box in boxes.items()
    ]


def to_8_bit(dataset):
    """The picture as a radiologist sees it, bones bright, in 0 to 255: a (rows, columns) array of uint8."""
    pixels = dataset.pixel_array.astype(np.float32)
    if dataset.PhotometricInterpretation == "MONOCHROME1":  # stored with bones dark
        pixels = pixels.max() - pixels
    # Percentiles, since collimator edges and lead markers shall not set the scale.
    darkest, brightest = np.percentile(pixels, [1, 99])
    scaled = (pixels - darkest) / max(brightest - darkest, 1)
    return (scaled.clip(0, 1) * 255).astype(np.uint8)


def find_lungs(picture):
    """Boxes in pixels of `picture` by class index, and the detector's name; none when all three fail."""
    scale = LONGEST_SIDE / max(picture.shape)
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    for method, (find_right, find_left) in DETECTORS.items():
        right, left = find_right(small), find_left(small)
        if right is None or left is None:
            continue
        if right[0] + right[2] / 2 > left[0]:  # not side by side: one lung was found twice
            continue
        return {RIGHT_LUNG: to_box(right, scale), LEFT_LUNG: to_box(left, scale)}, method
    return {}, None


def to_box(rectangle, scale):
    """A box in whole pixels of the full picture. MD.ai wants plain ints, so numpy's are converted."""
    x, y, width, height = (round(float(value) / scale) for value in rectangle)
    return {"x": x, "y": y, "width": width, "height": height}
