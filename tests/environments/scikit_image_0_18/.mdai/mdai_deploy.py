"""OpenCV and scikit-image, as packages were written in 2021."""

import json
from io import BytesIO

import cv2
import numpy as np
import pydicom
import skimage
from skimage import measure


class MDAIModel:
    def predict(self, data):
        outputs = []
        for file in data["files"]:
            ds = pydicom.dcmread(BytesIO(file["content"]))
            pixels = ds.pixel_array.astype(np.float32)
            sums = cv2.boxFilter(pixels, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
            mask = (sums > 9 * pixels.mean()).astype(np.uint8)
            regions = measure.regionprops(measure.label(mask))
            place = {
                "type": "ANNOTATION",
                "study_uid": ds.StudyInstanceUID,
                "series_uid": ds.SeriesInstanceUID,
                "instance_uid": ds.SOPInstanceUID,
            }
            note = json.dumps({"scikit-image": skimage.__version__, "numpy": np.__version__})
            outputs.append(
                dict(place, class_index=0, data={"mask": mask}, probability=np.float64(mask.mean()), note=note)
            )
            top, left, bottom, right = max(regions, key=lambda region: region.area).bbox
            box = np.array([left, top, right - left, bottom - top])
            outputs.append(dict(place, class_index=1, data=dict(zip(("x", "y", "width", "height"), box))))
        return outputs
