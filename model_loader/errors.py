"""What can go wrong with a model package and with the process that hosts it.

::

    ModelLoaderError
    ├── PackageError               the package cannot be served; nothing was started
    │   ├── ArchiveError           not an archive, unsafe, or over a limit
    │   ├── LayoutError            no `.mdai/mdai_deploy.py`, or two of them; no such version of an export
    │   └── ConfigError            config.yaml, or an export's model.json, says something that has no meaning
    ├── EnvironmentBuildError      the model's Python environment cannot be made
    │   ├── InterpreterNotFound    the Python that `base_image` asks for is not here
    │   └── InstallFailed          requirements.txt cannot be installed
    ├── DeviceError                a GPU was demanded and there is none
    ├── LoadFailed                 the worker did not become ready
    │   ├── ImportFailed           mdai_deploy.py raised while it was imported
    │   ├── ClassMissing           mdai_deploy.py has no class MDAIModel
    │   ├── InitFailed             MDAIModel() raised
    │   ├── LoadTimeout            not ready within the startup timeout
    │   └── DiedLoading            the process ended while it loaded
    ├── NotReady                   no worker can predict now (`retry_after` seconds)
    │   ├── QueueFull              workers are there, and so are too many requests
    │   └── NoRoom                 this machine has no memory or descriptors left for an answer
    └── PredictFailed              this request failed; the next one may not
        ├── RequestUnreadable      the body is no msgpack that the worker can decode
        ├── ModelRaised            predict() raised
        ├── OutputUnwritable       an output holds something msgpack cannot carry
        ├── DeadlineExceeded       predict() took longer than allowed and was killed
        ├── ServerStopped          the server was told to stop before predict() had ended
        └── WorkerDied             the process ended while it predicted

``str(error)`` is one or more complete sentences for a person: what was found, where, and what to do next.
``traceback`` is the model's own traceback where there is one. Nothing here knows HTTP; ``app.problems`` maps
these types to statuses.
"""

from typing import Literal

LayoutFault = Literal["", "lost folder", "several roots", "no deploy file", "packed twice"]


class ModelLoaderError(Exception):
    """Base of everything this package raises on purpose."""

    def __init__(self, text: str, *, traceback: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.traceback = traceback

    @property
    def report(self) -> str:
        """The text, and behind it the model's traceback where there is one."""
        return "\n\n".join(filter(None, (self.text, self.traceback.rstrip())))


class PackageError(ModelLoaderError):
    """The package cannot be served as it is."""


class ArchiveError(PackageError):
    """The archive is unreadable, unsafe or over a limit."""


class LayoutError(PackageError):
    """The package does not have exactly one `.mdai/mdai_deploy.py`, or the export not the version.

    `fault` says in what way, where that is known.
    """

    def __init__(self, text: str, *, traceback: str = "", fault: LayoutFault = "") -> None:
        super().__init__(text, traceback=traceback)
        self.fault = fault


class ConfigError(PackageError):
    """The package's config.yaml, or the export's model.json, has no meaning.

    `file` and `line`, from 1, say where it begins to have none.
    """

    def __init__(self, text: str, *, traceback: str = "", file: str = "", line: int | None = None) -> None:
        super().__init__(text, traceback=traceback)
        self.file = file
        self.line = line


class EnvironmentBuildError(ModelLoaderError):
    """The model's Python environment cannot be made."""


class InterpreterNotFound(EnvironmentBuildError):
    """The Python version that the package asks for is not on this machine and cannot be downloaded."""


class InstallFailed(EnvironmentBuildError):
    """The installer refused the package's requirements; its own words are in the text."""


class DeviceError(ModelLoaderError):
    """The operator demanded a device that this machine does not have."""


class LoadFailed(ModelLoaderError):
    """A worker did not become ready."""


class ImportFailed(LoadFailed):
    """mdai_deploy.py raised while it was imported."""


class ClassMissing(LoadFailed):
    """mdai_deploy.py was imported and defines no usable class MDAIModel."""


class InitFailed(LoadFailed):
    """MDAIModel() raised."""


class LoadTimeout(LoadFailed):
    """The worker was not ready within the startup timeout."""


class DiedLoading(LoadFailed):
    """The worker's process ended while it loaded the model."""


class NotReady(ModelLoaderError):
    """No worker can take a request now; try again after `retry_after` seconds.

    `quotes` says that the text is why a start failed, in the words of whatever failed.
    """

    def __init__(self, text: str, *, traceback: str = "", retry_after: float = 1.0, quotes: bool = False) -> None:
        super().__init__(text, traceback=traceback)
        self.retry_after = retry_after
        self.quotes = quotes


class QueueFull(NotReady):
    """Every worker is busy and as many requests wait as are allowed to."""


class NoRoom(NotReady):
    """This machine cannot hold another answer now."""


class PredictFailed(ModelLoaderError):
    """This request failed; the service goes on."""


class RequestUnreadable(PredictFailed):
    """The worker could not decode the request body."""


class ModelRaised(PredictFailed):
    """predict() raised; `traceback` holds the model's own."""


class OutputUnwritable(PredictFailed):
    """An output holds something that msgpack cannot carry; the text names the place."""


class DeadlineExceeded(PredictFailed):
    """predict() took longer than allowed; its process was killed."""


class ServerStopped(PredictFailed):
    """The server was told to stop, and predict() had not ended when its grace was over."""


class WorkerDied(PredictFailed):
    """The worker's process ended while it predicted; the text names the signal or exit code."""
