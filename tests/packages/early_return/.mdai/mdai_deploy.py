"""Returns from inside the loop over the files: its last line stands one level too deep."""

from io import BytesIO

import numpy as np
import pydicom


class MDAIModel:
    def __init__(self):
        self.threshold = 0.5

    def predict(self, data):
        input_files = data["files"]
        outputs = []
        for file in input_files:
            if file["content_type"] != "application/dicom":
                continue
            ds = pydicom.dcmread(BytesIO(file["content"]))
            pixels = ds.pixel_array.astype(np.float32)
            brightness = float(pixels.mean() / max(float(pixels.max()), 1.0))
            outputs.append(
                {
                    "type": "ANNOTATION",
                    "study_uid": str(ds.StudyInstanceUID),
                    "series_uid": str(ds.SeriesInstanceUID),
                    "instance_uid": str(ds.SOPInstanceUID),
                    "class_index": int(brightness >= self.threshold),
                    "probability": brightness,
                }
            )

            return outputs
