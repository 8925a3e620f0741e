"""What the model does when it is run: the findings P…, from loading it to what it answered.

The same fault in the answers to several requests is one finding, placed at the first of them.
"""

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack

from app.doctor.finding import Code, Finding, Place, Severity
from app.doctor.run import answers, drawings
from app.doctor.run.answers import REFUSED
from app.doctor.run.inputs import InputFile, TrialRequest, given_requests
from app.doctor.run.remarks import Answer, Remark
from app.doctor.run.synthetic import synthetic_requests
from app.doctor.run.trial import FailedStart, Hosting, Outcome, run_trial
from app.doctor.subject import Subject
from app.interface.labels import LabelClass, read_label_classes
from app.interface.outputs import plain_outputs
from app.interface.wording import all_of
from model_loader.errors import (
    ClassMissing,
    DeadlineExceeded,
    DiedLoading,
    ImportFailed,
    InitFailed,
    LoadTimeout,
    ModelLoaderError,
    ModelRaised,
    OutputUnwritable,
    WorkerDied,
)
from model_loader.workdir import RunFolder

NOT_LOADED = Code("P001", Severity.ERROR, "the model does not load")
RAISED = Code("P002", Severity.ERROR, "predict raised an error")
DIED = Code("P003", Severity.ERROR, "predict took too long, or its process ended")
NO_OUTPUTS = Code("P013", Severity.NOTE, "no outputs at all")
RAISED_FOR_SOME = Code("P014", Severity.NOTE, "predict raised an error for some made-up images")
RAISED_FOR_MADE_UP = Code("P015", Severity.WARNING, "predict raised an error for made-up images")

CODES = (
    NOT_LOADED,
    RAISED,
    DIED,
    NO_OUTPUTS,
    RAISED_FOR_SOME,
    RAISED_FOR_MADE_UP,
    drawings.OUTSIDE,
    drawings.MASK_SHAPE,
    *answers.CODES,
)

_FRAME = re.compile(r'^[ |+-]*File "(.+)", line (\d+)', re.MULTILINE)
_LONGEST_TRACEBACK = 20
_NAMED = 3

_FIXES: dict[type[ModelLoaderError], str] = {
    ImportFailed: "Mend the import. `mdai-model env PACKAGE` shows what its environment holds.",
    ClassMissing: (
        "Define `class MDAIModel:` with __init__(self) and predict(self, data) in .mdai/mdai_deploy.py;"
        " `mdai-model init DIR` writes one that runs."
    ),
    InitFailed: (
        "Make MDAIModel() work without arguments, without a GPU or a network, and from any working directory: paths"
        " begin with os.path.dirname(__file__)."
    ),
    LoadTimeout: "Put into the package what it downloads, or allow more with --startup-timeout.",
    DiedLoading: (
        "Look at what it printed. Most often a native library was built for another machine, memory ran out, or the"
        " package calls os._exit."
    ),
    DeadlineExceeded: "Allow more with --predict-timeout, or find out what predict waits for.",
    WorkerDied: (
        "Look at what it printed. Most often memory ran out, a native library crashed, or the package calls os._exit:"
        " raise an exception instead."
    ),
}
_FIX_RAISED = (
    "Mend predict there. For a file that the model is not made for, leave outputs out or return one of type NONE with a"
    " note: an error refuses the whole request."
)
_FIX_MADE_UP = "Name a file that the model is made for with --input. Where it raises with that as well, mend predict."
_FIX_MADE_UP_ONLY = (
    "What was given with --input counts. Look at whether predict should take what it raised for, or pass over it."
)


def examine_run(
    subject: Subject,
    hosting: Hosting,
    run: RunFolder,
    *,
    inputs: Sequence[InputFile] = (),
    scope: str | None = None,
    label_classes: Sequence[Mapping[str, Any]] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Finding]:
    """Load the model, ask it about made-up images and about `inputs` (see `read_inputs`), and compare its answers.

    `scope` is INSTANCE, SERIES, STUDY or EXAM, None where the package does not say; `label_classes` are those of a
    request, sent with each and compared with. Build the environment first, which takes long; `progress` gets a line
    for each step. Call it on the main thread. Raises InputError.
    """
    known = read_label_classes(memoryview(msgpack.packb(list(label_classes))))[0]
    scope = scope and scope.upper()
    requests = (*synthetic_requests(scope), *given_requests(inputs, scope))
    report = _Report(subject, known, has_given=bool(inputs))
    failed = run_trial(
        subject.package, hosting, run, requests, report.receive, label_classes=label_classes, progress=progress
    )
    if failed is not None:
        yield _not_loaded(subject, failed)
    yield from report.findings()


class _Report:
    """Takes outcomes and gives findings; keeps no answers, which may be large."""

    def __init__(self, subject: Subject, label_classes: Sequence[LabelClass], *, has_given: bool) -> None:
        self._subject = subject
        self._label_classes = label_classes
        self._has_given = has_given
        self._cases: dict[Hashable, tuple[Remark, Place, list[str]]] = {}
        self._raised: list[Outcome] = []
        self._answered: dict[bool, list[str]] = {True: [], False: []}
        self._with_outputs: set[bool] = set()

    def receive(self, outcome: Outcome) -> None:
        """Note what is wrong with one outcome."""
        request = outcome.request
        match outcome.result:
            case Answer() as answer:
                self._answered[request.is_synthetic].append(request.name)
                remarks = list(answers.remarks(answer, self._label_classes))
                if any(remark.code is REFUSED for remark in remarks) or any(plain_outputs(answer.skeleton)):
                    self._with_outputs.add(request.is_synthetic)
                for remark in remarks:
                    self._note(remark, Place(request.name), request)
            case ModelRaised():
                self._raised.append(outcome)
            case OutputUnwritable() as error:
                self._note(Remark(REFUSED, error.text, error.report, answers.FIX_REFUSED), Place(request.name), request)
            case error:
                reason = f"With {request.name}, {error.text}{_printed(outcome)}"
                self._note(Remark(DIED, type(error).__name__, reason, _fix(error)), Place(request.name), request)

    def findings(self) -> Iterator[Finding]:
        """Everything that was noted."""
        for outcome in self._raised:
            self._note_raised(outcome)
        for remark, place, others in self._cases.values():
            yield Finding(remark.code, place, remark.reason + _also(others), remark.fix)
        yield from self._nothing_found()

    def _note(self, remark: Remark, place: Place, request: TrialRequest) -> None:
        key = (remark.code, remark.key)
        if key in self._cases:
            self._cases[key][2].append(request.name)
        else:
            self._cases[key] = (remark, place, [])

    def _note_raised(self, outcome: Outcome) -> None:
        error, request = outcome.result, outcome.request
        assert isinstance(error, ModelRaised)
        code, fix = RAISED, _FIX_RAISED
        if request.is_synthetic:
            code = RAISED_FOR_SOME if self._answered[True] or self._answered[False] else RAISED_FOR_MADE_UP
            fix = _FIX_MADE_UP_ONLY if self._answered[False] else _FIX_MADE_UP
        place = _place(self._subject, error.traceback)
        reason = f"With {request.name}, {error.text}"
        if code is RAISED_FOR_SOME and self._answered[True]:
            reason += f" It answered {all_of(self._answered[True])}."
        self._note(Remark(code, (place, error.text), reason + _tail(error.traceback), fix), place, request)

    def _nothing_found(self) -> Iterator[Finding]:
        is_synthetic = not self._answered[False]
        names = self._answered[is_synthetic]
        if not names or is_synthetic in self._with_outputs or (is_synthetic and self._has_given):
            return
        what = "made-up images" if is_synthetic else "inputs"
        fix = "" if self._has_given else "Name a file in which the model finds something with --input. "
        yield Finding(
            NO_OUTPUTS,
            Place(names[0]),
            f"predict returned an empty list for all {what}, so there was nothing to compare with them.",
            f"{fix}Where the model looked and found nothing, an output of type NONE says so.",
        )


def _not_loaded(subject: Subject, failed: FailedStart) -> Finding:
    error = failed.error
    printed = _words(failed.printed) if isinstance(error, LoadTimeout) else ""
    reason = f"{error.text[:1].upper()}{error.text[1:]}{printed}{_tail(error.traceback)}"
    return Finding(NOT_LOADED, _place(subject, error.traceback), reason, _fix(error))


def _fix(error: ModelLoaderError) -> str:
    return next((_FIXES[kind] for kind in type(error).__mro__ if kind in _FIXES), "Mend that, and check again.")


def _place(subject: Subject, traceback: str) -> Place:
    """The last line of the package's that the traceback names; mdai_deploy.py where it names none."""
    root = subject.package.root.resolve()
    for file, line in reversed(_FRAME.findall(traceback)):
        if inner := _inside(root, Path(file)):
            return Place(inner.as_posix(), int(line))
    return Place(".mdai/mdai_deploy.py")


def _inside(root: Path, file: Path) -> Path | None:
    """Where a file of the package lies below its root; None for any other.

    A module may have been found in the worker's folder, which is gone by now: `lib` in it was the root.
    """
    if file.resolve().is_relative_to(root):
        return file.resolve().relative_to(root)
    behind_lib = (Path(*file.parts[place + 1 :]) for place, part in enumerate(file.parts) if part == "lib")
    return next((inner for inner in behind_lib if (root / inner).is_file()), None)


def _tail(traceback: str) -> str:
    lines = traceback.rstrip().splitlines()
    if len(lines) > _LONGEST_TRACEBACK:
        lines = [f"[… {len(lines) - _LONGEST_TRACEBACK} lines …]", *lines[-_LONGEST_TRACEBACK:]]
    return "\n\n" + "\n".join(lines) if lines else ""


def _printed(outcome: Outcome) -> str:
    """What the model printed before it was stopped; of one that died the error tells."""
    return _words(outcome.printed) if isinstance(outcome.result, DeadlineExceeded) else ""


def _words(printed: Sequence[str]) -> str:
    return "\nThe last it printed:\n" + "\n".join(printed) if printed else ""


def _also(others: Sequence[str]) -> str:
    if not others:
        return ""
    more = len(others) - _NAMED
    named = all_of([*others[:_NAMED], f"{more:,} more"] if more > 0 else others)
    return f"\nThe same with {named}."
