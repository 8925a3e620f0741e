"""What is wrong with the outputs of one request as compared with what was asked about."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from app.doctor.finding import Code, Severity
from app.doctor.run import drawings
from app.doctor.run.drawings import OUTSIDE
from app.doctor.run.images import Images
from app.doctor.run.inputs import Instance
from app.doctor.run.remarks import Answer, Remark, Tally
from app.interface.errors import InvalidOutput
from app.interface.findings import DoubtGroup
from app.interface.labels import SCOPE_UIDS, Label, LabelClass
from app.interface.outputs import doubts_about, judge, plain_outputs
from app.interface.wording import count_of, quoted

REFUSED = Code("P004", Severity.ERROR, "outputs that are refused")
DOUBTFUL = Code("P005", Severity.WARNING, "outputs that are doubtful")
NOT_ELSEWHERE = Code("P006", Severity.WARNING, "outputs that MD.ai's own server refuses")
STRANGE_UID = Code("P007", Severity.ERROR, "a UID that is not in the input")
ONE_ANSWERED = Code("P008", Severity.WARNING, "one of several inputs was answered, and the others were not")
STRANGE_CLASS = Code("P011", Severity.WARNING, "a class_index that is no class of the project")
STRANGE_FRAME = Code("P012", Severity.ERROR, "a frame_number that the image does not have")
PROBABILITY = Code("P016", Severity.WARNING, "a probability that is not between 0 and 1")
NOT_ANSWERED = Code("P017", Severity.NOTE, "inputs that nobody answered")

CODES = (
    REFUSED,
    DOUBTFUL,
    NOT_ELSEWHERE,
    STRANGE_UID,
    ONE_ANSWERED,
    STRANGE_CLASS,
    STRANGE_FRAME,
    PROBABILITY,
    NOT_ANSWERED,
)

FIX_REFUSED = "Change what predict returns there: a single output like this has the whole answer refused."
_FIX_UID = (
    "Take all three UIDs from the file that the output is about: str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID),"
    " str(ds.SOPInstanceUID), or the same keys of file['dicom_tags'] where the file is no DICOM."
)
_FIX_FRAME = "Count frames from zero, and leave frame_number out for an image that has one frame."
_FIX_PROBABILITY = "Give the probability itself, from 0 to 1: not a logit (apply sigmoid or softmax), not per cent."

#: What the judge doubts under these keys has a code, and often a fix, of its own.
_DOUBTS: dict[Hashable, tuple[Code, str]] = {
    "probability": (PROBABILITY, _FIX_PROBABILITY),
    "probability of": (PROBABILITY, _FIX_PROBABILITY),
    "no class": (
        STRANGE_CLASS,
        "Return the number of a class that the project has, or give the project a label for this one.",
    ),
    "frame_number": (STRANGE_FRAME, _FIX_FRAME),
    ("data", "width"): (OUTSIDE, drawings.FIX_SIZE),
    ("data", "height"): (OUTSIDE, drawings.FIX_SIZE),
}
#: Key of an output, keyword of DICOM, attribute of an input.
_UIDS = (
    ("study_uid", "StudyInstanceUID"),
    ("series_uid", "SeriesInstanceUID"),
    ("instance_uid", "SOPInstanceUID"),
)

_WHOLE = SCOPE_UIDS.keys() - {"INSTANCE"}


def remarks(answer: Answer, label_classes: Sequence[LabelClass] = ()) -> Iterator[Remark]:
    """Everything that is wrong with one answer; where it is refused as a whole, that alone."""
    try:
        doubts = doubts_about(answer.skeleton, label_classes)
    except InvalidOutput as error:
        yield Remark(REFUSED, error.text, error.text, FIX_REFUSED)
        return
    yield from map(_about_doubt, doubts)
    yield from _about_strictness(answer)
    outputs, images = list(plain_outputs(answer.skeleton)), Images(answer.request)
    yield from _about_uids(outputs, images)
    yield from _about_frames(outputs, images)
    yield from drawings.remarks(answer, outputs, images)
    yield from _about_unanswered(outputs, images, _classes_of_whole_series(label_classes))


def _about_doubt(doubt: DoubtGroup) -> Remark:
    code, fix = _DOUBTS.get(doubt.key, (DOUBTFUL, doubt.fix or "change that in what predict returns"))
    end = "" if fix.endswith((".", "?")) else "."
    return Remark(code, doubt.key, f"In {doubt.text}", fix[0].upper() + fix[1:] + end)


def _about_strictness(answer: Answer) -> Iterator[Remark]:
    try:
        judge(answer.skeleton, strict=True)
    except InvalidOutput as error:
        fix = (
            "Return plain Python: int(…), float(…) and str(…) of single values, .tolist() of arrays, a list of"
            " dicts, and only the keys that the interface has. Here it works as it is, unless --strict is given."
        )
        yield Remark(NOT_ELSEWHERE, "strict", error.text, fix)


def _about_uids(outputs: list[dict[Any, Any]], images: Images) -> Iterator[Remark]:
    for level, (key, keyword) in enumerate(_UIDS):
        known = {getattr(instance, key) for instance in images.all}
        if None in known:  # an input without that UID: whatever is said may be meant for it
            continue
        tally = Tally()
        for index, output in enumerate(outputs):
            uid = output.get(key)
            # The images that outputs of these types bring have UIDs of their own.
            is_of_input = level == 0 or output["type"] not in ("DICOM", "IMAGE")
            if uid and uid.strip() and uid not in known and is_of_input:
                tally.add(index, f"{key} is {quoted(uid)}, {_instead(uid, images, keyword)}")
        if tally.count:
            yield Remark(STRANGE_UID, key, tally.sentence(len(outputs)), _FIX_UID)
    yield from _about_mixed_uids(outputs, images)


def _instead(uid: str, images: Images, keyword: str) -> str:
    for key, other in _UIDS:
        if any(getattr(instance, key) == uid for instance in images.all):
            return f"which is the input's {other}, not its {keyword}"
    return f"and no input has that {keyword}"


def _about_mixed_uids(outputs: list[dict[Any, Any]], images: Images) -> Iterator[Remark]:
    """UIDs that are all there, in different inputs."""
    tally = Tally()
    series = {(instance.study_uid, instance.series_uid) for instance in images.all}
    for index, output in enumerate(outputs):
        study, own = output.get("study_uid"), output.get("series_uid")
        instance = images.named(output)
        if instance is not None and own and own != instance.series_uid and any(own == uid for _, uid in series):
            tally.add(index, "instance_uid is of one series in the input, series_uid of another")
        elif own and (study, own) not in series and {study, own} <= {uid for pair in series for uid in pair}:
            tally.add(index, "series_uid is of one study in the input, study_uid of another")
    if tally.count:
        yield Remark(STRANGE_UID, "mixed", tally.sentence(len(outputs)), _FIX_UID)


def _about_frames(outputs: list[dict[Any, Any]], images: Images) -> Iterator[Remark]:
    tally = Tally()
    for index, output in enumerate(outputs):
        frame, instance = output.get("frame_number"), images.of(output)
        if frame is not None and instance is not None and instance.frames and frame >= instance.frames:
            tally.add(index, f"frame_number is {frame}, and the image has {count_of(instance.frames, 'frame')}")
    if tally.count:
        yield Remark(STRANGE_FRAME, "beyond", tally.sentence(len(outputs)), _FIX_FRAME)


def _classes_of_whole_series(label_classes: Sequence[LabelClass]) -> frozenset[int]:
    """The classes whose label is put on a series or a study, so that an instance_uid says nothing."""
    found = set()
    for one in label_classes:
        label = one.label or Label()
        is_local = (label.type or "").upper() == "LOCAL"
        if one.class_index is not None and (label.scope or "").upper() in _WHOLE and not is_local:
            found.add(one.class_index)
    return frozenset(found)


def _about_unanswered(
    outputs: list[dict[Any, Any]], images: Images, of_whole_series: frozenset[int]
) -> Iterator[Remark]:
    """An output without instance_uid answers for its series, one without series_uid for its study."""
    asked = [instance for instance in images.all if instance.instance_uid and (instance.size or not instance.frames)]
    if len(asked) < 2:
        return
    levels: tuple[set[Any], set[Any], set[Any]] = (set(), set(), set())
    for output in outputs:
        is_whole = output.get("class_index") in of_whole_series
        depth = 2 if output.get("instance_uid") and not is_whole else 1 if output.get("series_uid") else 0
        levels[depth].add(output.get(_UIDS[depth][0]))
    answered = [_is_answered(instance, levels) for instance in asked]
    if all(answered) or not any(answered):  # none: no outputs, or none that belongs to the input
        return
    missing = answered.count(False)
    count = f"{missing:,} of {len(asked):,} inputs of one request"
    if answered.count(True) == 1 and (answered[0] or answered[-1]):
        yield _one_answered(count, is_first=answered[0])
        return
    fix = (
        "Nothing, where nothing was found in these. An output of type NONE says so, and tells that apart from an"
        " input that was overlooked."
    )
    first = asked[answered.index(False)].instance_uid
    yield Remark(NOT_ANSWERED, "some", f"No output is about {count}, the first with instance_uid {first!r}.", fix)


def _is_answered(instance: Instance, levels: tuple[set[Any], set[Any], set[Any]]) -> bool:
    """Whether one of the studies, series or instances that were answered for is, or holds, this instance."""
    uids = (instance.study_uid, instance.series_uid, instance.instance_uid)
    return any(uid in answered for uid, answered in zip(uids, levels, strict=True))


def _one_answered(count: str, *, is_first: bool) -> Remark:
    if is_first:
        which, cause = "first", "a `return` inside the loop over data['files'], or with data['files'][0] alone"
        fix = "return behind the loop"
    else:
        which, cause = "last", "a list of outputs that is made anew for every file"
        fix = "make the list before the loop"
    return Remark(
        ONE_ANSWERED,
        which,
        f"No output is about {count}: only the {which} was answered, as happens with {cause}.",
        f"Add to one list for every file, and {fix}. An output about a whole series leaves instance_uid out.",
    )
