"""What is wrong with outputs as compared with the input: every fault, and what comes close to one."""

import functools
import re
from dataclasses import replace

import pytest

from app.doctor.run import answers, drawings
from app.doctor.run.inputs import Instance, TrialRequest
from app.doctor.run.remarks import Remark
from app.doctor.run.synthetic import synthetic_requests
from app.interface.labels import Label, LabelClass
from tests.trying import answer_of, model


@functools.cache
def made_up(scope: str) -> TrialRequest:
    """The first request for this scope."""
    return synthetic_requests(scope)[0]


def remarks(
    statements: str, request: TrialRequest | None = None, label_classes: tuple[LabelClass, ...] = ()
) -> list[Remark]:
    """What is said about a model's answer, but that MD.ai's own server would refuse it."""
    answer = answer_of(model(statements), request or made_up("SERIES"))
    return [each for each in answers.remarks(answer, label_classes) if each.code is not answers.NOT_ELSEWHERE]


BOX = 'output["data"] = {"x": %s, "y": %s, "width": %s, "height": %s}'
#: By what is wrong: what the model does, the code, and what the reason says.
FAULTS = {
    "a mask as one flat list": ('output["data"] = {"mask": [0, 1]}', "P004", r"outputs\[0\]\.data\.mask is flat"),
    "a key that nobody knows": ('output["score"] = 1.0', "P005", r"unknown key, 'score'"),
    "another study": ('output["study_uid"] = "1.2.3"', "P007", r"study_uid is '1\.2\.3', and no input has that Study"),
    "the series' UID as the instance's": (
        'output["instance_uid"] = output["series_uid"]',
        "P007",
        r"which is the input's SeriesInstanceUID, not its SOPInstanceUID",
    ),
    "a box beyond the edge": (BOX % (200, 0, 100, 9), "P009", r"x \+ width is 300, and the image has 256 columns"),
    "a box that begins outside": (BOX % (-5, 0, 20, 9), "P009", r"x is -5, and the image begins at 0"),
    "x2 - x1 with wrong indices": (
        """
        box = [20, 120, 60, 150]  # y1, x1, y2, x2
        output["data"] = {"x": box[1], "y": box[0], "width": box[2] - box[1], "height": box[3] - box[0]}
        """,
        "P009",
        r"data\.width is negative \(-60",
    ),
    "corners instead of a size": (
        BOX % (100, 20, "columns - 10", 160),
        "P009",
        r"x \+ width is 346, and the image has 256 columns",
    ),
    "a point outside": ('output["data"] = {"x": columns + 9, "y": 0}', "P009", r"x is 265, and the image has 256"),
    "an outline outside": (
        'output["data"] = {"vertices": [[1, 1], [9, 1], [columns + 40, 9]]}',
        "P009",
        r"x is 296, and the image has 256 columns",
    ),
    "an outline of arrays outside": (
        'output["data"] = {"vertices": np.array([[1, 1], [9, rows + 40]])}',
        "P009",
        r"y is 232, and the image has 192 rows",
    ),
    "an outline left of the image": (
        'output["data"] = {"vertices": [[1, 1], [2.5, 2], [-40, 2]]}',
        "P009",
        r"x is -40, and the image begins at 0",
    ),
    "a mask with exchanged axes": (
        'output["data"] = {"mask": np.zeros((columns, rows), int).tolist()}',
        "P010",
        r"256 rows and 192 columns, and the image has 192 rows and 256 columns: rows and columns are exchanged",
    ),
    "a mask of the network's size": (
        'output["data"] = {"mask": np.zeros((224, 224))}',
        "P010",
        r"data\.mask has 224 rows and 224 columns, and the image has 192 rows and 256 columns",
    ),
    "a frame too far": ('output["frame_number"] = 1', "P012", r"frame_number is 1, and the image has 1 frame"),
    "a negative frame": ('output["frame_number"] = -1', "P012", r"frame_number is negative"),
    "a logit": ('output["probability"] = 1.7', "P016", r"probability is not between 0 and 1 \(1\.7"),
    "per cent of a class": (
        'output["probability"] = [{"class_index": 0, "probability": 93.0}]',
        "P016",
        r"probability holds one that is not between 0 and 1 \(93",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_nothing_else(fault: str) -> None:
    statements, code, reason = FAULTS[fault]
    found = remarks(statements)
    assert {remark.code.name for remark in found} == {code}
    assert any(re.search(reason, remark.reason) for remark in found), found
    assert all(remark.fix.endswith((".", "?")) for remark in found)


#: Close to a fault, and none.
NEAR_MISSES = {
    "nothing but the class": "",
    "a box as large as the image": BOX % (0, 0, "columns", "rows"),
    "a box that stands out by its rounding": BOX % (-1, 0, "columns + 2", "rows"),
    "a point in the far corner": 'output["data"] = {"x": columns, "y": rows}',
    "an outline around the image": 'output["data"] = {"vertices": [[0, 0], [columns, 0], [columns, rows], [0, rows]]}',
    "a mask": 'output["data"] = {"mask": [[0] * columns for _ in range(rows)]}',
    "the only frame": 'output["frame_number"] = 0',
    "certainty": 'output["probability"] = 1.0',
    "a finding about each series": 'del output["instance_uid"]',
    "a finding about the study": 'del output["instance_uid"], output["series_uid"]',
    "one finding about the series": 'del output["instance_uid"]; outputs = outputs[:1]',
    "an image that the model made": 'output.update(type="IMAGE", images=[], instance_uid="1.2.3.4")',
    "nothing found": 'output["type"] = "NONE"',
}  # fmt: skip


@pytest.mark.parametrize("near_miss", NEAR_MISSES)
def test_what_comes_close_to_a_fault_is_none(near_miss: str) -> None:
    assert remarks(NEAR_MISSES[near_miss]) == []


def test_outlines_in_a_list_of_their_own_are_looked_into() -> None:
    statement = 'output["data"] = {"vertices": [[[1, 1], [2, 2]], [[1, 1], [-40, 2]]]}'
    assert [remark.code.name for remark in remarks(statement)] == ["P005", "P009"]


def test_an_outline_without_numbers_or_with_uneven_pairs_hides_no_other_one() -> None:
    odd = "[[float('nan')] * 2]", "[[1, 2], [3]]", "[[float('inf'), 1], [5, 6]]"
    statement = "\n".join(f'outputs.append({{**output, "data": {{"vertices": {vertices}}}}})' for vertices in odd)
    found = remarks(
        statement + '\noutputs.append({**output, "data": {"vertices": [[1, 2], [3, 400]]}})', made_up("INSTANCE")
    )
    [outside] = [remark for remark in found if remark.code is drawings.OUTSIDE]
    assert outside.reason == "In outputs[4]: y is 400, and the image has 192 rows."


def test_a_thing_is_said_once_however_many_outputs_it_is_true_of() -> None:
    [remark] = remarks('output["data"] = {"x": 0, "y": 0, "width": 300 + len(outputs), "height": 1}')
    assert remark.reason == "In 5 of 5 outputs, first outputs[0]: x + width is 301, and the image has 256 columns."


def test_exchanged_axes_are_said_where_they_explain_every_drawing() -> None:
    exchanged = 'output["data"] = {"x": 10, "y": 200, "width": 20, "height": 50}'
    [remark] = remarks(exchanged)
    assert remark.reason.endswith("y + height is 250, and the image has 192 rows. With x and y exchanged it would fit.")
    assert remark.fix == drawings.FIX_EXCHANGED
    [remark] = remarks(exchanged + '; output["data"]["x"] += 200 * (len(outputs) == 3)')
    assert remark.fix == drawings.FIX_SIZE


#: What a loop over files that goes wrong does behind the answer to a file.
EARLY = "return outputs"
LATE = "outputs[:] = [output]"


@pytest.mark.parametrize(("statement", "which"), [(EARLY, "first"), (LATE, "last")])
def test_inputs_that_nobody_answered_are_found_where_a_loop_goes_wrong(statement: str, which: str) -> None:
    [remark] = remarks(statement)
    assert remark.code is answers.ONE_ANSWERED
    assert remark.reason.startswith(f"No output is about 4 of 5 inputs of one request: only the {which} was answered")


def test_inputs_that_a_model_left_out_are_worth_a_note() -> None:
    """A model that finds something in two of five slices may be right."""
    [remark] = remarks("outputs[:] = outputs[:2]")
    assert (remark.code, remark.reason[:48]) == (
        answers.NOT_ANSWERED,
        "No output is about 3 of 5 inputs of one request,",
    )


def test_an_input_that_is_no_image_wants_no_answer() -> None:
    request = made_up("SERIES")
    report = replace(request.files[0], instance=Instance("1", "1.2", "1.2.3"))
    answered = answer_of(model(), replace(request, files=request.files[1:2]))
    mixed = replace(answered, request=TrialRequest("mixed", (report, request.files[1])))
    assert list(answers.remarks(mixed)) == []


def test_a_label_of_a_series_is_one_answer_for_it_whichever_instance_it_names() -> None:
    """As many models do that take the UIDs from the first file."""
    classes = (LabelClass(0, Label(type="GLOBAL", scope="SERIES")),)
    assert remarks(EARLY, label_classes=classes) == []
    local = (LabelClass(0, Label(type="LOCAL", scope="SERIES")),)
    assert answers.ONE_ANSWERED in [remark.code for remark in remarks(EARLY, label_classes=local)]


def test_a_series_of_the_study_without_an_answer_is_worth_a_note() -> None:
    [remark] = remarks('del output["instance_uid"]; outputs[:] = outputs[:1]', made_up("STUDY"))
    assert remark.code is answers.NOT_ANSWERED and "5 of 10 inputs" in remark.reason


def test_uids_of_several_inputs_in_one_output_are_found() -> None:
    request = made_up("STUDY")
    other = request.instances[-1].series_uid
    [remark] = remarks(f'output["series_uid"] = {other!r}', request)
    assert remark.code is answers.STRANGE_UID
    assert "instance_uid is of one series in the input, series_uid of another" in remark.reason


def test_a_class_that_the_project_does_not_have_is_found_where_its_classes_are_known() -> None:
    assert remarks('output["class_index"] = 7') == []
    [remark] = remarks('output["class_index"] = 7', label_classes=(LabelClass(0), LabelClass(1)))
    assert remark.code is answers.STRANGE_CLASS and "not among the label classes, 0, 1 (7" in remark.reason


def test_what_only_md_ai_s_own_server_refuses_is_found() -> None:
    answer = answer_of(model('output["probability"] = np.float32(0.5)'), made_up("SERIES"))
    [remark] = answers.remarks(answer)
    assert remark.code is answers.NOT_ELSEWHERE and "outputs[0].probability is a numpy.float32" in remark.reason
    assert list(answers.remarks(answer_of(model('output["probability"] = 0.5'), made_up("SERIES")))) == []


def test_a_mask_of_another_input_s_size_is_said_to_be_one() -> None:
    request = TrialRequest("two", (*made_up("INSTANCE").files, *synthetic_requests("INSTANCE")[1].files))
    [remark] = remarks('output["data"] = {"mask": np.zeros((192, 256))}', request)
    assert remark.code is drawings.MASK_SHAPE
    assert remark.reason.startswith("In outputs[1]: ") and "another input has the mask's shape" in remark.reason


def test_uids_are_not_doubted_where_an_input_has_none() -> None:
    request = made_up("INSTANCE")
    without = replace(request.files[0], instance=replace(request.instances[0], series_uid=None, instance_uid=None))
    [remark] = remarks('output.update(study_uid="1", series_uid="1", instance_uid="1")', TrialRequest("", (without,)))
    assert remark.reason == "In outputs[0]: study_uid is '1', and no input has that StudyInstanceUID."


def test_drawings_on_an_image_whose_size_nobody_knows_are_not_doubted() -> None:
    request = made_up("INSTANCE")
    unknown = replace(request.files[0], instance=replace(request.instances[0], rows=None))
    assert remarks(BOX % (0, 0, 999, 999), TrialRequest("unknown", (unknown,))) == []


def test_numbers_that_are_none_are_left_to_the_judge() -> None:
    found = remarks(BOX % ('float("nan")', 0, 1, 1)) + remarks('output["data"] = {"vertices": [[1, float("nan")]]}')
    assert {remark.code for remark in found} == {answers.DOUBTFUL}
