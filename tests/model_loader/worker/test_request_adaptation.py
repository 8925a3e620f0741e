"""A request becomes the data that models expect."""

import copy
import pickle
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from model_loader.worker.mdai_guest.request import adapt


def dicom(**more: Any) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.update({"PatientID": "p", "StudyInstanceUID": "1.2", "SOPInstanceUID": "1.2.3", **more})
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def image(**more: Any) -> dict[str, Any]:
    return {"content": b"\xff\xd8", "content_type": "image/jpeg", "dicom_tags": {"StudyInstanceUID": "1.2"}, **more}


@pytest.mark.parametrize("absent", [{}, {"annotations": None, "label_classes": None, "args": None}])
def test_what_models_index_without_looking_is_there(absent: dict[str, Any]) -> None:
    data = adapt({"files": [], **absent})
    assert data == {"files": [], "annotations": [], "label_classes": [], "args": {}}
    assert (type(data["annotations"]), type(data["label_classes"]), type(data["args"])) == (list, list, dict)


def test_what_was_sent_stays_and_so_do_unknown_keys() -> None:
    message = {"files": [image()], "annotations": [{"id": 1}], "label_classes": [{}], "args": {"a": "1"}, "more": [1]}
    sent = copy.deepcopy(message)
    data = adapt(message)
    assert {key: data[key] for key in ("annotations", "label_classes", "args", "more")} == {
        key: sent[key] for key in ("annotations", "label_classes", "args", "more")
    }
    assert list(data) == list(sent)
    assert isinstance(data, dict)


def test_each_file_points_at_the_requests_annotations_and_classes() -> None:
    data = adapt({"files": [image(), image()], "annotations": [{"id": 1}]})
    for file in data["files"]:
        assert file["annotations"] is data["annotations"]
        assert file["label_classes"] is data["label_classes"]


def test_a_file_keeps_annotations_and_classes_of_its_own() -> None:
    [file] = adapt({"files": [image(annotations=[5], label_classes=[])], "label_classes": [{}]})["files"]
    assert (file["annotations"], file["label_classes"]) == ([5], [])


@pytest.mark.parametrize("absent", [{}, {"label_classes": None}])
def test_a_request_without_label_classes_gets_a_new_list_of_the_package_s(absent: dict[str, Any]) -> None:
    made = [adapt({"files": [image(), image(label_classes=[7])], **absent}, lambda: [{"class_index": 1}]) for _ in "ab"]
    for data in made:
        assert data["label_classes"] == [{"class_index": 1}]
        assert data["files"][0]["label_classes"] is data["label_classes"]
        assert data["files"][1]["label_classes"] == [7]
    assert made[0]["label_classes"] is not made[1]["label_classes"]


@pytest.mark.parametrize("sent", [[], [{"class_index": 5}], {}, 0, ""])
def test_label_classes_that_were_sent_stay_whatever_they_are(sent: Any) -> None:
    assert adapt({"files": [], "label_classes": sent}, lambda: [1])["label_classes"] is sent


def test_the_content_is_not_copied() -> None:
    content = bytes(1000)
    assert adapt({"files": [{"content": content}]})["files"][0]["content"] is content


@pytest.mark.parametrize("message", [None, [], 5, b"x", {}, {"files": None}, {"files": {}}, {"files": "x"}])
def test_a_request_without_a_list_of_files_is_refused(message: Any) -> None:
    with pytest.raises(ValueError, match="the request is no map with a list under 'files'"):
        adapt(message)


@given(files=st.lists(st.none() | st.integers() | st.binary() | st.lists(st.integers())))
def test_files_that_are_no_maps_are_passed_on_as_they_are(files: list[Any]) -> None:
    assert adapt({"files": list(files)})["files"] == files


class TestInstances:
    """The request under the name it had in version 0.1 of the interface."""

    def test_they_are_made_when_they_are_asked_for_and_only_once(self) -> None:
        data = adapt({"files": [image()]})
        assert "instances" not in data
        assert data["instances"] == [{"file": b"\xff\xd8", "tags": {"StudyInstanceUID": "1.2"}}]
        assert data["instances"] is data["instances"]

    def test_tags_of_a_dicom_file_are_read_from_it(self) -> None:
        content = dicom(Modality="CT")
        [instance] = adapt({"files": [{"content": content, "content_type": "application/dicom"}]})["instances"]
        assert instance["file"] is content
        assert instance["tags"] == {
            "PatientID": "p",
            "StudyInstanceUID": "1.2",
            "SOPInstanceUID": "1.2.3",
            "Modality": "CT",
        }

    def test_tags_that_were_sent_are_not_read_again(self) -> None:
        sent = {"PatientID": "sent"}
        file = {"content": b"no DICOM", "content_type": "application/dicom", "dicom_tags": sent}
        assert adapt({"files": [file]})["instances"][0]["tags"] == sent

    def test_a_picture_without_tags_has_none(self) -> None:
        assert adapt({"files": [{"content": b"", "content_type": "image/png"}]})["instances"][0]["tags"] == {}

    def test_instances_that_were_sent_are_those(self) -> None:
        assert adapt({"files": [], "instances": [1]})["instances"] == [1]

    def test_any_other_missing_key_is_missing(self) -> None:
        data = adapt({"files": []})
        with pytest.raises(KeyError, match=r"^'study'$"):
            data["study"]
        assert data.get("instances") is None


def test_copies_and_pickles_are_plain_dicts() -> None:
    """A child process of the package's cannot import the worker's classes."""
    data = adapt({"files": [image()]})
    for twin in (copy.copy(data), copy.deepcopy(data), pickle.loads(pickle.dumps(data)), data.copy(), {**data}):
        assert type(twin) is dict
        assert twin == data
