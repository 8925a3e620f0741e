"""An ONNX network and scikit-learn, as packages were written in 2023."""

import json
from io import BytesIO

import google.protobuf
import numpy as np
import onnx
import onnxruntime
import pydicom
import sklearn
from onnx import TensorProto, helper
from sklearn.preprocessing import binarize


def network() -> bytes:
    kernel = helper.make_tensor("kernel", TensorProto.FLOAT, [1, 1, 3, 3], [1.0] * 9)
    node = helper.make_node("Conv", ["image", "kernel"], ["sums"], pads=[1, 1, 1, 1])
    image, sums = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, "rows", "columns"]) for name in ("image", "sums")
    )
    graph = helper.make_graph([node], "sums", [image], [sums], [kernel])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


class MDAIModel:
    def __init__(self):
        self.session = onnxruntime.InferenceSession(network(), providers=["CPUExecutionProvider"])

    def predict(self, data):
        outputs = []
        for file in data["files"]:
            ds = pydicom.dcmread(BytesIO(file["content"]))
            pixels = ds.pixel_array.astype(np.float32)
            (sums,) = self.session.run(None, {"image": pixels[None, None]})
            mask = binarize(sums[0, 0], threshold=9 * pixels.mean())
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
                            "onnxruntime": onnxruntime.__version__,
                            "onnx": onnx.__version__,
                            "scikit-learn": sklearn.__version__,
                            "numpy": np.__version__,
                            "protobuf": google.protobuf.__version__,
                        }
                    ),
                }
            )
        return outputs
