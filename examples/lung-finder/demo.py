"""Finds lungs on a real chest radiograph through the real service: `make demo`, or this file by hand.

Starts `mdai-model serve` on this example, waits until it is ready, posts the radiograph `RG1` of
pydicom-data as MD.ai does (msgpack), prints the outputs as JSON, draws them in a picture and stops the
service. Exits 0 only if all of that worked. Options that are not the demo's own go to `serve`.
"""

import argparse
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

import msgpack
import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.data import get_testdata_file

PACKAGE = Path(__file__).resolve().parent
#: The command line of the environment that this file runs in.
COMMAND = Path(sys.executable).with_name("mdai-model")
LUNGS = {0: "Right lung", 1: "Left lung"}
COLOURS = {0: "#ff5a5a", 1: "#3ddc84"}
#: The service has this many seconds to end after SIGTERM when nothing is being predicted.
STOP_SECONDS = 10.0
#: The longest side of the picture, in pixels.
PICTURE_SIDE = 1000

Output = dict[str, Any]


class DemoError(Exception):
    """The demo cannot go on; the text says what happened and what to do."""


def main(arguments: list[str] | None = None, command: Path = COMMAND) -> int:
    """Run the demo against `command`; the exit code is 0 when the lungs were found and drawn, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--picture", type=Path, default=Path("demo.png"), help="the picture to draw")
    parser.add_argument("--timeout", type=float, default=900, help="seconds to wait for /ready")
    options, serve_options = parser.parse_known_args(arguments)
    try:
        run(command, serve_options, options.picture, options.timeout)
    except DemoError as failure:
        print(f"demo: {failure}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0


def run(command: Path, serve_options: list[str], picture: Path, timeout: float) -> None:
    """The demo from start to end. Raises DemoError."""
    radiograph = find_radiograph()
    with service(command, serve_options) as (process, url):
        wait_ready(process, url, timeout)
        say(f"posting {radiograph.name}, a chest radiograph of {radiograph.stat().st_size / 1e6:.1f} MB")
        outputs = predict(url, request_body(radiograph.read_bytes()))
        print(json.dumps(outputs, indent=2), flush=True)
        check(outputs)
        draw(pydicom.dcmread(radiograph), outputs, picture)
        say(f"drew the boxes in {picture}")
        seconds = stop(process)
    say(f"the service stopped cleanly in {seconds:.1f} s")


def say(text: str) -> None:
    """One line of progress, at once, so that it stands at its place among the service's own lines."""
    print(f"demo: {text}", flush=True)


def find_radiograph() -> Path:
    """The radiograph as a file. Raises DemoError when the demo's extra is not installed."""
    found = get_testdata_file("RG1_UNCR.dcm", download=False)
    if not isinstance(found, str):
        raise DemoError("the radiograph RG1 of pydicom-data is not here: run `make demo`, which installs it.")
    return Path(found)


@contextmanager
def service(command: Path, serve_options: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The service on a free port of this machine, gone when the block is left, however it is left."""
    if not command.exists():
        raise DemoError(f"{command} does not exist: run `make demo`, which installs it.")
    port = free_port()
    say(f"mdai-model serve {PACKAGE.name} on port {port}")
    address = ["--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen([command, "serve", PACKAGE, *address, *serve_options]) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_ready(process: subprocess.Popen[bytes], url: str, timeout: float) -> None:
    """Ask /ready until it says yes; how far the service is stands in its own log, which is shown.

    The first time takes as long as building the model's environment takes. Raises DemoError when the service
    ends or `timeout` seconds have passed.
    """
    started = time.monotonic()
    while True:
        if process.poll() is not None:
            raise DemoError(f"the service ended with exit code {process.returncode}; its words are above.")
        status, text = ready(url)
        if status == 200:
            say(f"ready after {time.monotonic() - started:.1f} s")
            return
        if time.monotonic() - started > timeout:
            raise DemoError(f"the service was not ready after {timeout:.0f} s. It says: {text or 'nothing'}")
        time.sleep(0.2)


def ready(url: str) -> tuple[int, str]:
    """Status and text of /ready; status 0 while nobody listens."""
    try:
        with _opener().open(f"{url}/ready", timeout=10) as answer:
            return answer.status, ""
    except HTTPError as error:
        return error.code, error.read().decode(errors="replace").strip()
    except (URLError, OSError):
        return 0, ""


def request_body(content: bytes) -> bytes:
    """The request that MD.ai sends for a model that works on one instance at a time."""
    label_classes = [
        {
            "class_index": class_index,
            "label": {
                "id": f"L_{class_index}",
                "name": name,
                "type": "LOCAL",
                "scope": "INSTANCE",
                "annotation_mode": "bbox",
                "short_name": name.split()[0],
                "description": "",
                "parent_id": None,
            },
        }
        for class_index, name in LUNGS.items()
    ]
    request = {
        "files": [{"content": content, "content_type": "application/dicom"}],
        "annotations": [],
        "label_classes": label_classes,
        "args": {},
    }
    body: bytes = msgpack.packb(request)
    return body


def predict(url: str, body: bytes) -> list[Output]:
    """The model's outputs. Raises DemoError, with the service's own words, for any other answer than 200."""
    request = Request(f"{url}/predict", body, {"Content-Type": "application/msgpack"})
    try:
        with _opener().open(request, timeout=300) as answer:
            say(f"answered in: {answer.headers.get('Server-Timing', 'unknown')}")
            outputs: list[Output] = msgpack.unpackb(answer.read())
            return outputs
    except HTTPError as error:
        text = error.read().decode(errors="replace").strip()
        raise DemoError(f"/predict answered {error.code}: {text}") from error
    except (URLError, OSError) as error:
        raise DemoError(f"/predict did not answer: {error}. The service's words are above.") from error


def check(outputs: list[Output]) -> None:
    """Raise DemoError unless `outputs` are one box for each lung."""
    boxes = {output.get("class_index"): output.get("data") for output in outputs}
    if len(outputs) != len(LUNGS) or boxes.keys() != LUNGS.keys() or not all(boxes.values()):
        raise DemoError("the answer above is not one box for each lung, as it should be for this radiograph.")


def draw(dataset: pydicom.Dataset, outputs: list[Output], picture: Path) -> None:
    """Draw the boxes of `outputs` on the radiograph and write that to `picture` as PNG."""
    pixels = dataset.pixel_array.astype(np.float32)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels = pixels.max() - pixels
    darkest, brightest = np.percentile(pixels, [1, 99])
    grey = ((pixels - darkest) / max(float(brightest - darkest), 1.0)).clip(0, 1) * 255
    scale = PICTURE_SIDE / max(grey.shape)
    size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
    image = Image.fromarray(grey.astype(np.uint8)).resize(size).convert("RGB")

    canvas = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=22)
    for output in outputs:
        box, class_index = output["data"], output["class_index"]
        left, top = box["x"] * scale, box["y"] * scale
        right, bottom = left + box["width"] * scale, top + box["height"] * scale
        canvas.rectangle((left, top, right, bottom), outline=COLOURS[class_index], width=4)
        at = (left + 8, top - 6)
        canvas.rectangle(canvas.textbbox(at, LUNGS[class_index], font, anchor="lb"), fill="black")
        canvas.text(at, LUNGS[class_index], COLOURS[class_index], font, anchor="lb")
    try:
        image.save(picture, "PNG")
    except OSError as error:
        raise DemoError(f"the picture cannot be written: {error}. Choose another with --picture.") from error


def stop(process: subprocess.Popen[bytes]) -> float:
    """Stop the service as a supervisor would; the seconds it took. Raises DemoError unless it exits 0."""
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"the service did not stop within {STOP_SECONDS:.0f} s of SIGTERM.") from error
    if code != 0:
        raise DemoError(f"the service ended with exit code {code} after SIGTERM, where 0 was expected.")
    return time.monotonic() - started


def _opener() -> OpenerDirector:
    """HTTP without the machine's proxy, which has no business with 127.0.0.1."""
    return build_opener(ProxyHandler({}))


def _leave(number: int, frame: object) -> NoReturn:
    """End on SIGTERM as on any other failure: through the blocks that stop the service."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    sys.exit(main())
