"""Reads the request as version 0.1 of the interface had it: instances with a file and its tags."""

from io import BytesIO

import numpy as np
import pydicom


class MDAIModel:
    def predict(self, data):
        input_instances = data["instances"]
        threshold = float(data["args"].get("threshold", "0.5"))
        outputs = []
        for instance in input_instances:
            tags = instance["tags"]
            ds = pydicom.dcmread(BytesIO(instance["file"]))
            pixels = ds.pixel_array.astype(np.float32)
            brightness = float(pixels.mean() / max(float(pixels.max()), 1.0))
            output = {
                "type": "ANNOTATION" if brightness >= threshold else "NONE",
                "study_uid": tags["StudyInstanceUID"],
                "series_uid": tags["SeriesInstanceUID"],
                "instance_uid": tags["SOPInstanceUID"],
                "frame_number": None,
                "class_index": 0,
                "probability": brightness,
            }
            outputs.append(output)
        return outputs
