"""Which method of a model gets a request's files, and in what shape."""

from types import SimpleNamespace
from typing import Any

import pytest

from model_loader.worker.mdai_guest.encoding import materialise
from model_loader.worker.mdai_guest.groups import Call
from model_loader.worker.mdai_guest.request import adapt

GROUPS = [[{"content": b"a"}, {"content": b"b"}], [], [{"content": b"c"}]]
FLAT = [{"content": b"a"}, {"content": b"b"}]


def contents(files: Any) -> Any:
    return [contents(file) if isinstance(file, list) else file["content"] for file in files]


def model(*methods: str) -> Any:
    """Answers with the method's name and the contents that it got."""

    def method(name: str) -> Any:
        return lambda data: [(name, contents(data["files"]))]

    return SimpleNamespace(**{name: method(name) for name in methods})


def outputs_of(model: Any, files: Any, **more: Any) -> Any:
    data = adapt({"files": [list(file) if isinstance(file, list) else dict(file) for file in files], **more})
    return Call(model, data).outputs(materialise, lambda: None, lambda: False)


def test_groups_go_to_predict_batch_as_they_are() -> None:
    assert outputs_of(model("predict", "predict_batch"), GROUPS) == [("predict_batch", [[b"a", b"b"], [], [b"c"]])]


def test_groups_go_to_predict_one_by_one_and_the_outputs_are_joined_in_order() -> None:
    expected = [("predict", [b"a", b"b"]), ("predict", []), ("predict", [b"c"])]
    assert outputs_of(model("predict"), GROUPS) == expected


@pytest.mark.parametrize("files", [FLAT, []])
def test_files_without_groups_go_to_predict(files: Any) -> None:
    assert outputs_of(model("predict", "predict_batch"), files) == [("predict", contents(files))]


def test_a_model_that_has_predict_batch_alone_gets_files_without_groups_as_one_group() -> None:
    assert outputs_of(model("predict_batch"), FLAT) == [("predict_batch", [[b"a", b"b"]])]


def test_a_helper_named_predict_batch_with_other_parameters_is_left_alone() -> None:
    helping = model("predict")
    helping.predict_batch = lambda images, size: None
    assert [name for name, _ in outputs_of(helping, GROUPS)] == ["predict"] * 3


def test_each_call_sees_the_rest_of_the_request_and_the_outputs_may_be_generated() -> None:
    def predict(data: Any) -> Any:
        data["mine"] = "is nobody else's"
        yield {key: value for key, value in data.items() if key != "files"}

    rest = {"annotations": [], "label_classes": [], "args": {"a": "1"}, "more": 5, "mine": "is nobody else's"}
    assert outputs_of(SimpleNamespace(predict=predict), GROUPS[:1] * 2, args={"a": "1"}, more=5) == [rest, rest]


def test_what_is_no_list_comes_back_alone() -> None:
    """The judge then says what a model has to return."""
    answers = iter([[1], None, [2]])
    assert outputs_of(SimpleNamespace(predict=lambda data: next(answers)), GROUPS) is None


def test_the_name_tells_which_call_failed() -> None:
    def predict(data: Any) -> Any:
        return [] if data["files"] else 1 / 0

    call = Call(SimpleNamespace(predict=predict), adapt({"files": [[{}], []]}))
    with pytest.raises(ZeroDivisionError):
        call.outputs(materialise, lambda: None, lambda: False)
    assert call.name == "predict(data) with the files of group 1"


def test_it_is_told_after_each_call_that_one_has_ended() -> None:
    """A child that the package forked must not go on with the next group."""
    ended: list[int] = []
    Call(model("predict"), adapt({"files": GROUPS})).outputs(materialise, lambda: ended.append(1), lambda: False)
    assert len(ended) == 3


def test_files_in_groups_point_at_the_request_s_annotations() -> None:
    data = adapt({"files": [[{"content": b"a"}], [{"content": b"b"}]], "annotations": [1]})
    assert all(group[0]["annotations"] is data["annotations"] for group in data["files"])


def test_paths_become_absolute_below_the_folder_and_content_stays(tmp_path: Any) -> None:
    files = [[{"content": None, "content_path": "/1/../a.dcm"}], [{"content": b"x"}, {"content_path": None}]]
    data = adapt({"files": files}, folder=str(tmp_path))
    paths = [file.get("content_path") for group in data["files"] for file in group]
    assert paths == [str(tmp_path / "a.dcm"), None, None]
    assert data["files"][0][0]["content"] is None


def test_models_of_version_0_1_see_the_content_of_files_that_were_loaded(tmp_path: Any) -> None:
    (tmp_path / "a").write_bytes(b"loaded")
    file = {"content": None, "content_path": "a", "content_type": "image/png", "dicom_tags": {"x": 1}}
    data = adapt({"files": [file]}, folder=str(tmp_path))
    assert data["instances"] == [{"file": b"loaded", "tags": {"x": 1}}]


def test_an_abandoned_request_goes_to_no_further_group() -> None:
    """Nobody sees what the model answers to the rest."""
    ended: list[int] = []
    call = Call(model("predict"), adapt({"files": GROUPS}))
    call.outputs(materialise, lambda: ended.append(1), lambda: True)
    assert len(ended) == 1
