"""uv, set up the way this machine's pip is."""

import json
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from model_loader.errors import EnvironmentBuildError
from model_loader.pip_settings import read_pip_settings, uv_arguments, uv_environment
from model_loader.requirements_file import Requirements
from model_loader.torch_backend import AUTO, VARIABLE
from model_loader.uv_process import Cancellation, Progress, Uv

# A wish about the model's requirements that does not concern what is installed besides them.
NOT_FOR_THE_BASELINE = ("UV_REQUIRE_HASHES", "UV_RESOLUTION")
# They decide what a requirement resolves to: no business of the worker's own, and in a lock nothing is left to decide.
RESOLVING = (
    *NOT_FOR_THE_BASELINE,
    "UV_BUILD_CONSTRAINT",
    "UV_CONSTRAINT",
    "UV_EXCLUDE",
    "UV_EXCLUDE_NEWER",
    "UV_OVERRIDE",
    "UV_PRERELEASE",
)


_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")


class Installer:
    """Installs into interpreters and venvs, always from what the machine's pip and uv are configured to use.

    Attributes:
        environ: what uv sees
        arguments: further arguments of ``uv pip install``
        require_hashes: whether pip's configuration demands hashes in requirements files
        offline: no network is to be used
        wheelhouse: the folder that everything comes from; None where that is an index
        torch_backend: what somebody has told uv about torch; ``auto`` where nobody has

    Raises:
        EnvironmentBuildError: pip's configuration has no meaning.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        progress: Progress,
        cancellation: Cancellation,
        offline: bool = False,
        wheelhouse: Path | None = None,
        exclude_newer: str | None = None,
    ) -> None:
        settings = read_pip_settings(environ)
        self.environ = uv_environment(settings, environ)
        if offline:
            self.environ["UV_OFFLINE"] = "1"
        self.offline = self.environ.get("UV_OFFLINE", "").lower() not in ("", "0", "false", "no", "off")
        self.arguments = uv_arguments(settings, environ)
        # uv would go by it in every call; where torch comes from is decided once, after what is said to this server.
        self.torch_backend = self.environ.pop(VARIABLE, "") or AUTO
        if exclude_newer is not None:
            self.environ["UV_EXCLUDE_NEWER"] = _end_of(exclude_newer)
        self.wheelhouse = wheelhouse and wheelhouse.absolute()
        if self.wheelhouse is not None:
            self._take_everything_from(self.wheelhouse)
        self.require_hashes = settings.require_hashes
        self._index_of_pip = "UV_DEFAULT_INDEX" in self.environ and not environ.get("UV_DEFAULT_INDEX")
        self.progress = progress
        self.cancellation = cancellation

    def _take_everything_from(self, wheelhouse: Path) -> None:
        for name in _INDEXES:
            self.environ.pop(name, None)
        self.environ["UV_FIND_LINKS"] = str(wheelhouse)
        self.arguments = [*(argument for argument in self.arguments if argument != "--no-index"), "--no-index"]

    def uv(self, project: Path | None = None) -> Uv:
        """Return uv; with a project folder it reads no settings out of the folders that it works in."""
        if project is not None:
            try:
                (project / "pyproject.toml").write_text("[tool.uv]\n")
            except OSError as error:
                raise EnvironmentBuildError(f"The cache folder cannot be written: {error}.") from error
        return Uv(
            environ=self.environ,
            progress=self.progress,
            cancellation=self.cancellation,
            project=project,
        )

    def overrules_index(self, requirements: Requirements) -> bool:
        """Whether the requirements' own index replaces the configured one, as with pip.

        It does where that comes from pip's configuration, and not where a variable of uv's names it.
        """
        return requirements.own_index and self._index_of_pip

    def installed(self, python: Path) -> dict[str, str]:
        """Return the version of each project that the interpreter's environment holds.

        Raises:
            UvFailed: uv does not get on with that interpreter.
        """
        said = self.uv().run("pip", "list", "--python", python, "--format", "json", quiet=True)
        listed = next((line for line in said.splitlines() if line.startswith("[")), "[]")
        return {entry["name"]: entry["version"] for entry in json.loads(listed)}


def wheelhouse_advice(wheelhouse: Path) -> str:
    """Return what to do where a wheelhouse lacks something."""
    return (
        f"Only the wheelhouse {wheelhouse} is looked into: `mdai-model env PACKAGE --wheelhouse DIR`, where a network "
        "is, puts everything into one that the package needs."
    )


def _end_of(moment: str) -> str:
    """Return a day as its end in UTC: uv would take the machine's own time zone; a time stays as it is."""
    try:
        return f"{date.fromisoformat(moment) + timedelta(days=1)}T00:00:00Z"
    except ValueError:
        return moment
