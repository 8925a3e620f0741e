"""A package that asks for a GPU, and none here."""

import contextlib
from collections.abc import Iterator, Mapping

from app.doctor.finding import Code, Finding, Place, Severity
from app.doctor.subject import Subject
from model_loader.config import config_file
from model_loader.config_yaml import read_mapping
from model_loader.devices import find_gpus
from model_loader.errors import ConfigError

#: A note: most public packages ask for a GPU and run on a CPU, and a fault of the package's it is not.
NO_GPU = Code("D001", Severity.NOTE, "GPU asked for and none here")

CODES = (NO_GPU,)


def examine(subject: Subject, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Asks `nvidia-smi` on the PATH of `environ`, where the package wants a GPU."""
    if subject.package.config.device_type != "gpu" or find_gpus(environ):
        return
    file = config_file(subject.package.mdai)
    place = Place() if file is None else subject.place(file)
    if file is not None:
        with contextlib.suppress(ConfigError):  # it was changed since the package was opened
            place = subject.place(file, read_mapping(file, place.file).lines.get(("device_type",)))
    why = (
        "CUDA_VISIBLE_DEVICES hides them or `nvidia-smi` lists none"
        if "CUDA_VISIBLE_DEVICES" in environ
        else ("`nvidia-smi` lists none, or is not on PATH")
    )
    reason = (
        f"The package asks for a GPU and none is visible here ({why}): here the model sees none and runs on the CPU, "
        "which may be slow, and code that calls `.cuda()` without looking fails."
    )
    fix = (
        'Choose the device by `torch.device("cuda" if torch.cuda.is_available() else "cpu")`, or check and serve on a '
        "machine with a GPU, where `serve --device gpu` refuses to start without one."
    )
    yield Finding(NO_GPU, place, reason, fix)
