"""A graph and a session of TensorFlow 1, the only requirement that is listed."""

import json
from io import BytesIO

import google.protobuf
import numpy as np
import pydicom
import tensorflow as tf


class MDAIModel:
    def __init__(self):
        self.image = tf.placeholder(tf.float32, [None, None])
        kernel = tf.ones([3, 3, 1, 1])
        sums = tf.nn.conv2d(self.image[None, :, :, None], kernel, strides=1, padding="SAME")[0, :, :, 0]
        self.mask = sums > 9 * tf.reduce_mean(self.image)
        self.session = tf.Session()

    def predict(self, data):
        outputs = []
        for file in data["files"]:
            ds = pydicom.dcmread(BytesIO(file["content"]))
            mask = self.session.run(self.mask, {self.image: ds.pixel_array})
            outputs.append(
                {
                    "type": "ANNOTATION",
                    "study_uid": ds.StudyInstanceUID,
                    "series_uid": ds.SeriesInstanceUID,
                    "instance_uid": ds.SOPInstanceUID,
                    "class_index": 0,
                    "data": {"mask": mask},
                    "probability": mask.mean(),
                    "note": json.dumps(
                        {
                            "tensorflow": tf.__version__,
                            "numpy": np.__version__,
                            "protobuf": google.protobuf.__version__,
                        }
                    ),
                }
            )
        return outputs
