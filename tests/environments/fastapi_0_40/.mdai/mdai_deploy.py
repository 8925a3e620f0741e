"""Has the same libraries as the server, and all of them in versions that the server could not run with."""

import json
import os
from io import BytesIO

import fastapi
import google.protobuf
import msgpack
import numpy as np
import pydantic
import pydicom
from google.protobuf.struct_pb2 import Struct

app = fastapi.FastAPI()


class Found(pydantic.BaseModel):
    share: float


@app.get("/found", response_model=Found)
def found():
    return Found(share=0.5)


def pinned():
    """{project: version} of what requirements.txt pins."""
    with open(os.path.join(os.path.dirname(__file__), "requirements.txt")) as file:
        return dict(line.split("==") for line in file.read().split())


class MDAIModel:
    def predict(self, data):
        versions = {
            "fastapi": fastapi.__version__,
            "msgpack": ".".join(map(str, msgpack.version)),
            "protobuf": google.protobuf.__version__,
            "numpy": np.__version__,
            "pydantic": str(pydantic.VERSION),
        }
        for project, version in pinned().items():
            assert versions[project] == version, (project, versions[project])
        outputs = []
        for file in data["files"]:
            ds = pydicom.dcmread(BytesIO(file["content"]))
            pixels = ds.pixel_array.astype(np.float64)
            padded = np.pad(pixels, 1)
            height, width = pixels.shape
            sums = sum(padded[y : y + height, x : x + width] for y in range(3) for x in range(3))
            mask = sums > 9 * pixels.mean()
            message = Struct()
            message["share"] = float(Found(share=mask.mean()).share)
            assert msgpack.unpackb(msgpack.packb({"share": message["share"]}), raw=False) == {"share": mask.mean()}
            outputs.append(
                {
                    "type": "ANNOTATION",
                    "study_uid": ds.StudyInstanceUID,
                    "series_uid": ds.SeriesInstanceUID,
                    "instance_uid": ds.SOPInstanceUID,
                    "class_index": 0,
                    "data": {"mask": mask},
                    "probability": Struct.FromString(message.SerializeToString())["share"],
                    "note": json.dumps(versions),
                }
            )
        return outputs
