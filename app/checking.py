"""What `mdai-model check` does: examine a package as it lies there, correct what is safe, then run its model."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import typer

from app.cli import fail
from app.doctor import imports, layout, report, requirements
from app.doctor.examination import HOPELESS, examine
from app.doctor.finding import Finding
from app.doctor.pages import NoSuchPage, page
from app.doctor.run.inputs import InputError, InputFile, read_inputs
from app.doctor.run.predictions import examine_run
from app.doctor.run.trial import Hosting
from app.doctor.subject import Subject
from app.interface.labels import read_label_classes
from app.serving import built_here, ending_on_signals, environment_request, open_as_set, read_settings
from app.settings import Settings
from model_loader.environment import EnvironmentRequest, ModelEnvironment, build_environment, lock_environment
from model_loader.errors import ConfigError, EnvironmentBuildError, InstallFailed, PackageError
from model_loader.export import read_model_json
from model_loader.lock_file import LOCK, write_lock
from model_loader.workdir import RunFolder

#: A correction may bring to light what another one can correct.
_MOST_ROUNDS = 5
_LABEL_CLASSES = '[{"class_index": 0, "label": {"name": "lung", "scope": "INSTANCE", "annotation_mode": "bbox"}}]'


@dataclass(frozen=True)
class Wishes:
    """What is asked for beside settings.

    `inputs` are what to predict on; `scope` and `label_classes` are what the platform would know about the
    model. `runs`: build the environment and run the model, too. `repairs`: correct what is safe.
    """

    inputs: tuple[InputFile, ...] = ()
    scope: str | None = None
    label_classes: tuple[dict[str, Any], ...] = ()
    runs: bool = True
    repairs: bool = False
    as_json: bool = False


def check(source: Path, options: Mapping[str, Any], wishes: Wishes) -> int:
    """Examine `source` and print what is found; returns 0, 1 where there are warnings, 2 where there are errors."""
    settings = read_settings(options)
    request = environment_request(settings)
    if wishes.repairs and source.is_file():
        fail(f"{source} is an archive, which --fix does not change: unpack it, fix the folder, and zip that again.")
    with ending_on_signals(), RunFolder() as run:
        checkup = _Checkup(source, settings, request, wishes, run)
        try:
            checkup.go()
        except InputError as error:
            fail(str(error))
    return checkup.conclude()


def inputs_at(paths: Iterable[Path]) -> tuple[InputFile, ...]:
    """The files that `--input` names; ends with a sentence where one cannot be sent to a model."""
    try:
        return read_inputs(paths)
    except InputError as error:
        fail(str(error))


def label_classes_in(file: Path) -> tuple[dict[str, Any], ...]:
    """The label classes in a JSON file, a list or an export's model.json; ends with a sentence where there are none."""
    try:
        given = json.loads(file.read_bytes())
        if not isinstance(given, list):
            return read_model_json(file, str(file)).label_classes
    except OSError as error:
        fail(f"--label-classes: {file} cannot be read: {error.strerror}.")
    except (ValueError, RecursionError) as error:
        fail(f"--label-classes: {file} is not JSON: {error}.")
    except ConfigError as error:
        fail(f"--label-classes: {error.text}")
    _, warnings = read_label_classes(memoryview(msgspec.msgpack.encode(given)))
    if warnings:
        fail(f"--label-classes: {' '.join(warnings)} Write them as a request has them: {_LABEL_CLASSES}.")
    return tuple(given)


def explained(code: str) -> str:
    """The page of a code; ends with a sentence where there is none."""
    try:
        return page(code)
    except NoSuchPage as error:
        fail(f"--explain: {error}")


class _Checkup:
    """One package, and what has been found about it so far."""

    def __init__(
        self, source: Path, settings: Settings, request: EnvironmentRequest, wishes: Wishes, run: RunFolder
    ) -> None:
        self._source = source
        self._settings = settings
        self._request = request
        self._wishes = wishes
        self._run = run
        self._findings: list[Finding] = []
        self._repaired: list[str] = []
        self._subject: Subject | None = None
        self._unrun = ""

    def go(self) -> None:
        """Look, repair, build, run; what was found is told as soon as nothing changes it any more."""
        found = self._looked_at()
        if self._wishes.repairs:
            found = self._mended(found)
        self._unrun = self._why_not_run(found)
        if self._unrun or not self._wishes.repairs:
            self._tell(found)
        if self._subject is None or self._unrun:
            return
        wants_lock = self._wishes.repairs and self._request.mode == "auto" and self._subject.is_changeable
        wants_lock = wants_lock and any(finding.code in requirements.MENDED_BY_A_LOCK for finding in found)
        request = replace(built_here(self._request, self._subject.package, self._settings), anew=wants_lock)
        environment = self._built(self._subject, request)
        if self._wishes.repairs:
            if environment is not None and wants_lock and self._locked(self._subject, environment, request):
                found = self._looked_at()
            self._tell(found)
        if environment is not None:
            self._tell(imports.examine_with(self._subject, environment))
            self._tell(self._run_findings(self._subject))

    def conclude(self) -> int:
        """Print what goes under the findings, or all of it as JSON; returns the exit code."""
        if self._wishes.as_json:
            typer.echo(report.as_json(self._findings, self._facts()))
            return report.exit_code(self._findings)
        typer.echo(f"{report.summary(self._findings)}.")
        if self._unrun:
            typer.echo(f"The model was not run: {self._unrun}")
        if self._findings:
            typer.echo(f"More about a code: mdai-model check --explain {report.worst(self._findings).code.name}")
        if any(finding.repair for finding in self._findings) and not self._wishes.repairs:
            typer.echo(f"What is safe to correct is corrected by: mdai-model check {self._source} --fix")
        return report.exit_code(self._findings)

    def _looked_at(self) -> list[Finding]:
        try:
            package = open_as_set(self._source, self._run, self._settings)
        except PackageError as error:
            self._subject = None
            return [layout.refusal(error)]
        own = ".".join(map(str, sys.version_info[:2])) if self._request.mode == "current" else None
        python = own or self._settings.python or package.config.python_version
        self._subject = Subject(self._source, package, python)
        return examine(self._subject, os.environ)

    def _mended(self, found: list[Finding]) -> list[Finding]:
        """What is still found after everything was repaired that can be."""
        tried: set[str] = set()
        for _ in range(_MOST_ROUNDS):
            repairs = [finding.repair for finding in found if finding.repair and finding.repair.done not in tried]
            if not repairs:
                break
            for repair in repairs:
                tried.add(repair.done)
                try:
                    repair.apply()
                except OSError as error:
                    _say(f"could not be fixed: {error}")
                else:
                    self._fixed(repair.done)
            found = self._looked_at()
        return found

    def _why_not_run(self, found: Iterable[Finding]) -> str:
        """A sentence; "" where the model can be run."""
        if self._subject is None:
            return "the package cannot be opened."
        hopeless = sorted({finding.code.name for finding in found if finding.code in HOPELESS})
        if hopeless:
            return f"it cannot be loaded with {', '.join(hopeless)}."
        return "" if self._wishes.runs else "--no-run was given."

    def _built(self, subject: Subject, request: EnvironmentRequest) -> ModelEnvironment | None:
        try:
            return build_environment(
                subject.package, request, cache=self._settings.cache_dir, progress=_say, environ=os.environ
            )
        except EnvironmentBuildError as error:
            self._unrun = "its environment cannot be built."
            self._tell([_unbuilt(error, subject)])
            return None

    def _locked(self, subject: Subject, environment: ModelEnvironment, request: EnvironmentRequest) -> bool:
        """Write a lock of what was built; False where that cannot be done."""
        try:
            lock = lock_environment(subject.package, environment, request, progress=_say, environ=os.environ)
            write_lock(lock, subject.package)
        except (EnvironmentBuildError, OSError) as error:
            _say(f"no lock could be written: {error}")
            return False
        self._fixed(f"wrote .mdai/{LOCK}: exact versions and hashes of everything that is installed")
        return True

    def _run_findings(self, subject: Subject) -> Iterator[Finding]:
        settings, package = self._settings, subject.package
        hosting = Hosting(
            environment=self._request,
            cache=settings.cache_dir,
            device=settings.device,
            startup_timeout=settings.startup_timeout,
            predict_timeout=settings.predict_timeout,
        )
        return examine_run(
            subject,
            hosting,
            self._run,
            inputs=self._wishes.inputs,
            scope=self._wishes.scope or package.scope,
            label_classes=self._wishes.label_classes or package.label_classes,
            progress=_say,
        )

    def _tell(self, findings: Iterable[Finding]) -> None:
        told = list(findings)
        self._findings += told
        if not self._wishes.as_json:
            typer.echo(report.as_text(told), nl=False)

    def _fixed(self, done: str) -> None:
        self._repaired.append(done)
        if not self._wishes.as_json:
            typer.echo(f"fixed: {done}")

    def _facts(self) -> dict[str, Any]:
        package = self._subject and self._subject.package
        return {
            "package": package.name if package else None,
            "python": self._subject.python if self._subject else None,
            "ran": not self._unrun,
            "not_run_because": self._unrun or None,
            "fixed": self._repaired,
        }


def _unbuilt(error: EnvironmentBuildError, subject: Subject) -> Finding:
    if isinstance(error, InstallFailed):
        return requirements.unresolvable(error, subject)
    return requirements.unbuildable(error, subject)


def _say(line: str) -> None:
    """How far it is, for who waits."""
    typer.echo(line, err=True)
