"""The model. The server imports this file, builds MDAIModel once and calls predict() for every request.

What stands here runs as it is: it measures how bright an image is and puts a box around its bright region.
Replace `analyse` by your model.
"""

import os
from io import BytesIO

import numpy as np
import pydicom

# Class numbers are the model's own. A project ties each number to one of its labels.
BRIGHTNESS = 0  # a finding about the whole image: probability, no data
BRIGHT_REGION = 1  # a place in the image: data holds a box


class MDAIModel:
    def __init__(self):
        # Runs once, before the first request: load weights here. A path beside this file:
        #   os.path.join(os.path.dirname(__file__), "weights.pt")
        self.bright_fraction = float(os.environ.get("BRIGHT_FRACTION", "0.6"))  # from config.yaml

    def predict(self, data):
        """Answer with a list of outputs, in any number and order.

        data["files"]          what to look at: [{"content": bytes, "content_type": str}, ...]; one file for a
                               model that works on instances, all files of the series or study otherwise
        data["label_classes"]  the project's labels: [{"class_index": int, "label": {...}}, ...]
        data["annotations"]    what is already annotated on these files
        data["args"]           the user's settings: {str: str}
        """
        outputs = []
        for file in data["files"]:
            if file["content_type"] != "application/dicom":
                continue
            outputs += self.analyse(pydicom.dcmread(BytesIO(file["content"])))
        return outputs

    def analyse(self, dataset):
        pixels = dataset.pixel_array.astype(np.float32)
        if dataset.get("SamplesPerPixel", 1) > 1:
            pixels = pixels.mean(axis=-1)  # colour: the mean of red, green and blue
        if int(dataset.get("NumberOfFrames", 1)) > 1:
            pixels = pixels[0]  # to answer for other frames, add a zero-based "frame_number"
        pixels = (pixels - pixels.min()) / max(float(np.ptp(pixels)), 1.0)  # rows x columns, 0 to 1

        # What the outputs belong to. A finding for the whole series would leave instance_uid out.
        uids = {
            "study_uid": str(dataset.StudyInstanceUID),
            "series_uid": str(dataset.SeriesInstanceUID),
            "instance_uid": str(dataset.SOPInstanceUID),
        }
        brightness = {
            "type": "ANNOTATION",
            **uids,
            "class_index": BRIGHTNESS,
            "probability": float(pixels.mean()),
        }
        rows, columns = np.nonzero(pixels >= self.bright_fraction)
        if len(rows) == 0:
            return [brightness]
        box = {
            "x": int(columns.min()),
            "y": int(rows.min()),
            "width": int(np.ptp(columns)) + 1,
            "height": int(np.ptp(rows)) + 1,
        }
        # Instead of a box, data may be a mask {"mask": rows of numbers}, an outline
        # {"vertices": [[x, y], ...]} or a point {"x": x, "y": y}. "note" takes a sentence for the reader.
        region = {"type": "ANNOTATION", **uids, "class_index": BRIGHT_REGION, "data": box}
        return [brightness, region]
