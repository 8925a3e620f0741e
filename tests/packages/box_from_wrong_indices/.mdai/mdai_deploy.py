"""Finds the brightest region as x1, y1, x2, y2, and takes the wrong two of them for the box's width and height."""

from io import BytesIO

import numpy as np
import pydicom


class MDAIModel:
    def predict(self, data):
        outputs = []
        for file in data["files"]:
            if file["content_type"] != "application/dicom":
                continue
            ds = pydicom.dcmread(BytesIO(file["content"]))
            for box in self.detect(ds.pixel_array):
                outputs.append(
                    {
                        "type": "ANNOTATION",
                        "study_uid": str(ds.StudyInstanceUID),
                        "series_uid": str(ds.SeriesInstanceUID),
                        "instance_uid": str(ds.SOPInstanceUID),
                        "class_index": 0,
                        "probability": float(box[4]),
                        "data": {
                            "x": int(box[0]),
                            "y": int(box[1]),
                            "width": int(box[2] - box[1]),
                            "height": int(box[3] - box[0]),
                        },
                    }
                )
        return outputs

    def detect(self, pixels):
        """The lower right part of the picture, wider than it is high: [x1, y1, x2, y2, score]."""
        rows, columns = pixels.shape[:2]
        return np.array([[0.75 * columns, 0.1 * rows, columns - 1, 0.2 * rows, 0.9]])
