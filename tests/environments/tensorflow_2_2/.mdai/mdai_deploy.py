"""A network of Keras, as packages were written in 2020; pydicom is not listed, since the platform's images have it."""

import json
from io import BytesIO

import google.protobuf
import numpy as np
import pydicom
import tensorflow as tf


def network():
    model = tf.keras.Sequential(
        [tf.keras.layers.Conv2D(1, 3, padding="same", use_bias=False, input_shape=(None, None, 1))]
    )
    model.set_weights([np.ones((3, 3, 1, 1))])
    return model


class MDAIModel:
    def __init__(self):
        self.model = network()

    def predict(self, data):
        outputs = []
        for file in data["files"]:
            ds = pydicom.dcmread(BytesIO(file["content"]))
            pixels = ds.pixel_array.astype(np.float32)
            sums = self.model.predict(pixels[None, :, :, None])[0, :, :, 0]
            mask = sums > 9 * pixels.mean()
            outputs.append(
                {
                    "type": "ANNOTATION",
                    "study_uid": str(ds.StudyInstanceUID),
                    "series_uid": str(ds.SeriesInstanceUID),
                    "instance_uid": str(ds.SOPInstanceUID),
                    "class_index": 0,
                    "data": {"mask": mask},
                    "probability": mask.mean(dtype=np.float32),
                    "note": json.dumps(
                        {
                            "tensorflow-cpu": tf.__version__,
                            "numpy": np.__version__,
                            "protobuf": google.protobuf.__version__,
                        }
                    ),
                }
            )
        return outputs
