"""The reference server's design in words of our own: one process that receives, decodes, predicts, checks and packs.

    python benchmarks/reference_server.py PACKAGE [--port 0]

The body is joined in memory, unpacked whole, and handed to the model on the event loop; of masks and vertices the
check sees the first element; what was returned is packed on the event loop too. FastAPI with uvicorn's defaults.
"""

import argparse
import sys
import traceback
from pathlib import Path
from typing import Any

import msgpack
import uvicorn
from fastapi import FastAPI, Request, Response

NUMBERS = (int, float)
REQUIRED = {"NONE": ("study_uid",), "ANNOTATION": ("study_uid", "class_index")}


def load(package: Path) -> Any:
    sys.path[:0] = [str(package), str(package / ".mdai")]
    from mdai_deploy import MDAIModel  # type: ignore[import-not-found]

    return MDAIModel()


def check(outputs: Any) -> None:
    """Raise where an output is not as the platform wants it; of long lists the first element is looked at."""
    if type(outputs) is not list:
        raise TypeError("outputs are no list")
    for output in outputs:
        missing = [key for key in REQUIRED[output["type"]] if key not in output]
        if missing or type(output["study_uid"]) is not str:
            raise TypeError(f"an output without {missing or 'a study_uid'}")
        if output["type"] == "ANNOTATION" and type(output["class_index"]) is not int:
            raise TypeError("class_index is no int")
        if not isinstance(output.get("probability"), (float, list, type(None))):
            raise TypeError("probability is no float")
        data = output.get("data") or {}
        first = [data[key][0][0] for key in ("mask", "vertices") if key in data]
        first += [data[key] for key in ("x", "y", "width", "height") if key in data]
        if any(type(number) not in NUMBERS for number in first):
            raise TypeError("data begins with something that is no number")


def application(model: Any) -> FastAPI:
    app = FastAPI()

    @app.get("/healthz")
    async def healthz() -> str:
        return "ok"

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        try:
            data = msgpack.unpackb(await request.body(), raw=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, the request is at fault
            return Response(f"Error reading input data: {error}", 400, media_type="text/plain")
        try:
            outputs = model.predict(data)
            check(outputs)
            packed = msgpack.packb(outputs, use_bin_type=True)
        except Exception:  # noqa: BLE001 - and here the model
            return Response(f"Error running model: {traceback.format_exc()}", 500, media_type="text/plain")
        return Response(packed, media_type="application/msgpack")

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--port", type=int, default=6324)
    options = parser.parse_args()
    app = application(load(options.package.resolve()))
    uvicorn.run(app, host="127.0.0.1", port=options.port, loop="uvloop", http="httptools")


if __name__ == "__main__":
    main()
