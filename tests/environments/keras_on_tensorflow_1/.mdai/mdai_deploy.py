"""Keras on TensorFlow 1, whose requirements pin what its author knew of, and not h5py, which reads the weights."""

import json
import os
import tempfile
from io import BytesIO

import google.protobuf
import h5py
import keras
import numpy as np
import pydicom
import tensorflow as tf


def saved_network():
    """The path of a network's file, such as packages bring."""
    model = keras.models.Sequential(
        [keras.layers.Conv2D(1, 3, padding="same", use_bias=False, input_shape=(None, None, 1))]
    )
    model.set_weights([np.ones((3, 3, 1, 1))])
    path = os.path.join(tempfile.mkdtemp(), "model.h5")
    model.save(path)
    return path


class MDAIModel:
    def __init__(self):
        self.graph = tf.get_default_graph()
        self.model = keras.models.load_model(saved_network())

    def predict(self, data):
        outputs = []
        for file in data["files"]:
            ds = pydicom.dcmread(BytesIO(file["content"]))
            pixels = ds.pixel_array.astype(np.float32)
            with self.graph.as_default():
                sums = self.model.predict(pixels[None, :, :, None])[0, :, :, 0]
            mask = sums > 9 * pixels.mean()
            outputs.append(
                {
                    "type": "ANNOTATION",
                    "study_uid": ds.StudyInstanceUID,
                    "series_uid": ds.SeriesInstanceUID,
                    "instance_uid": ds.SOPInstanceUID,
                    "class_index": np.int64(0),
                    "data": {"mask": mask.astype(np.uint8)},
                    "probability": np.mean(mask),
                    "note": json.dumps(
                        {
                            "tensorflow": tf.__version__,
                            "keras": keras.__version__,
                            "h5py": h5py.__version__,
                            "numpy": np.__version__,
                            "protobuf": google.protobuf.__version__,
                        }
                    ),
                }
            )
        return outputs
