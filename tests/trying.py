"""Models for the doctor to try: one that answers for each file, bent by a few statements."""

import textwrap
from typing import Any

from app.doctor.run.inputs import TrialRequest
from app.doctor.run.remarks import Answer
from model_loader.shared_buffer import SharedBuffer
from model_loader.worker.mdai_guest import encoding

MODEL = """
from io import BytesIO

import numpy as np
import pydicom


class MDAIModel:
    def predict(self, data):
        outputs = []
        for file in data["files"]:
            if file["content_type"] == "application/dicom":
                ds = pydicom.dcmread(BytesIO(file["content"]))
                rows, columns = int(ds.Rows), int(ds.Columns)
                tags = {k: str(ds[k].value) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}
            else:
                rows, columns, tags = 3, 5, file["dicom_tags"]
            output = {
                "type": "ANNOTATION",
                "study_uid": tags["StudyInstanceUID"],
                "series_uid": tags["SeriesInstanceUID"],
                "instance_uid": tags["SOPInstanceUID"],
                "class_index": 0,
            }
            outputs.append(output)
%s
        return outputs
"""


def model(statements: str = "") -> str:
    """The source of a package that answers for each file, after `statements` about `output` and `outputs`."""
    return MODEL % textwrap.indent(textwrap.dedent(statements), " " * 12)


def answer_of(source: str, request: TrialRequest) -> Answer:
    """What the package of this source answers, without a worker, and as a worker would write it."""
    package: dict[str, Any] = {}
    exec(source, package)
    outputs = package["MDAIModel"]().predict({"files": [file.message() for file in request.files]})
    with SharedBuffer() as buffer:
        size, skeleton = encoding.write_into(encoding.materialise(outputs), encoding.Sink(lambda: buffer.fd), "msgpack")
        return Answer(request, buffer.read(0, size), buffer.read(size, skeleton))
