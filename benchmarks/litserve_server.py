"""The same packages under LitServe, as its documents tell an author of a model to write it; for comparison only.

    python benchmarks/litserve_server.py PACKAGE --port 8000 [--workers 2] [--restart-workers]

Runs in an environment of its own, which has LitServe and what the packages import. Bodies and answers are bytes of
msgpack: the body reaches `decode_request` as it came, and is unpacked and packed in the worker. What the model
returns is looked at by nobody. Settings are what was fastest of what works: as many processes for HTTP as workers,
which is the default; `fast_queue` is left out, because it changes nothing in 0.2.19.
"""

import argparse
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import litserve  # type: ignore[import-not-found]
import msgpack
from fastapi import Depends, Request, Response


async def body_of(request: Request) -> bytes:
    return await request.body()


class Package(litserve.LitAPI):  # type: ignore[misc]
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def setup(self, device: str) -> None:
        sys.path[:0] = [str(self.folder), str(self.folder / ".mdai")]
        from mdai_deploy import MDAIModel  # type: ignore[import-not-found]

        self.model = MDAIModel()

    # LitServe gives the endpoint the type of `request`; for any but FastAPI's own it would read JSON.
    def decode_request(self, request: Annotated[bytes, Depends(body_of)]) -> Any:
        return msgpack.unpackb(request, raw=False)

    def predict(self, data: Any) -> Any:
        return self.model.predict(data)

    def encode_response(self, output: Any) -> Response:
        return Response(msgpack.packb(output, use_bin_type=True), media_type="application/msgpack")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--restart-workers", action="store_true", help="costs a message for each request")
    options = parser.parse_args()
    # It ends its processes when it is interrupted, and only then.
    signal.signal(signal.SIGTERM, interrupted)
    server = litserve.LitServer(
        Package(options.package.resolve()),
        accelerator="cpu",
        workers_per_device=options.workers,
        timeout=False,
        healthcheck_path="/healthz",
        restart_workers=options.restart_workers,
    )
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False)


if __name__ == "__main__":
    main()
