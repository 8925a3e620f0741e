r"""What every built environment holds before the package's own requirements, and below them in priority.

Models import these without listing them, because the platform's images have them. Installed first; whatever
the package asks for then replaces them. Tried on 3.7 to 3.13: it resolves, and JPEG, JPEG-LS, JPEG 2000 and
RLE are decoded. What comes out differs by interpreter, mostly in what the newest supporting release is:

=============== ======= ======= ======= ======= ======= ======= =======
\                   3.7     3.8     3.9    3.10    3.11    3.12    3.13
=============== ======= ======= ======= ======= ======= ======= =======
numpy            1.21.6  1.24.4  1.26.4  1.26.4   2.4.6   2.5.5   2.5.5
pydicom           2.4.4   2.4.4   2.4.4   2.4.5   2.4.5   2.4.5   2.4.5
pylibjpeg         1.4.0   2.0.1   2.0.1   2.1.0   2.1.0   2.1.0   2.1.0
-libjpeg          1.3.4   2.2.0   2.2.0   2.2.0   2.5.0   2.5.0   2.5.0
-openjpeg         1.3.2   2.3.0   2.3.0   2.3.0   2.6.0   2.6.0   2.6.0
-rle              1.3.0   2.0.0   2.0.0   2.0.0   2.2.0   2.2.0   2.2.0
protobuf         3.20.3  3.20.3  3.20.3  3.20.3  3.20.3  3.20.3  3.20.3
setuptools       68.0.0  75.3.4 80.10.2 80.10.2 80.10.2 80.10.2 80.10.2
=============== ======= ======= ======= ======= ======= ======= =======
"""

import contextlib
import subprocess
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from model_loader.uv_process import Uv, UvFailed

_EVERYWHERE = (
    "pydicom<3",
    "pylibjpeg",
    "pylibjpeg-libjpeg",
    "pylibjpeg-openjpeg",
    "pylibjpeg-rle",
    "protobuf<3.21",  # TensorFlow before 2.12 says it takes newer ones, and cannot import them
    "setuptools<81",  # conda environments have it; old packages import pkg_resources, which later ones lack
)

_PLUGINS = {
    # Each decoder's module, and older releases that load where the newest does not. Today's are compiled
    # against numpy 1.20 or later. pylibjpeg raises where one does not load, and so does `import pydicom`.
    "pylibjpeg-libjpeg": ("libjpeg", ("1.2.0",)),
    "pylibjpeg-openjpeg": ("openjpeg", ("1.1.1", "1.0.1")),
    "pylibjpeg-rle": ("rle", ("1.2.0",)),
}

_PROBE = """
import importlib, sys
importlib.import_module(sys.argv[2])
if sys.version_info < (3, 8):
    # How pylibjpeg 1 finds its decoders; it refuses one whose stated requirements are not met.
    import pkg_resources
    pkg_resources.require(sys.argv[1])
"""
PROBE_SECONDS = 120.0


def baseline(release: tuple[int, ...]) -> tuple[str, ...]:
    """Return the requirements of the baseline for a Python release such as (3, 9, 18).

    The Pythons of the platform's own images (to 3.10) serve packages from before numpy 2, whose pinned wheels
    (OpenCV, torch 1) break beside it without their metadata saying so. A package that needs numpy 2 says so.
    """
    return ("numpy<2" if release < (3, 11) else "numpy", *_EVERYWHERE)


def mend_decoders(
    uv: Uv, python: Path, *, installed: Mapping[str, str], listed: Collection[str], arguments: Iterable[str]
) -> None:
    """Replace or remove the baseline's decoders that do not load beside the numpy of the package's choice.

    Tried in turn: the newest release that says it goes with that numpy, older ones, none.

    Parameters:
        python: the environment's interpreter
        installed: version by project
        listed: projects that the package lists itself; they are its own business
        arguments: further arguments of ``uv pip install``
    """
    numpy = f"numpy=={installed['numpy']}"
    for name, (module, older) in _PLUGINS.items():
        if name not in installed or name in listed:
            continue
        fitting = ["--only-binary", name, "--upgrade-package", name, name, numpy]
        candidates = iter([fitting, *(["--no-deps", f"{name}=={version}"] for version in older)])
        while not _loads(python, name, module):
            candidate = next(candidates, None)
            if candidate is None:
                uv.run("pip", "uninstall", "--python", python, name)
                uv.progress(
                    f"{name}, which decodes compressed images for pydicom, does not work beside the {numpy} of "
                    "this package and is left out."
                )
                break
            # A release that is not to be had is like one that does not load: the next one is tried.
            with contextlib.suppress(UvFailed):
                uv.run("pip", "install", "--python", python, *arguments, *candidate)


def _loads(python: Path, project: str, module: str) -> bool:
    try:
        answer = subprocess.run(
            [python, "-I", "-W", "ignore", "-c", _PROBE, project, module],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0
