"""Keys that a model reads of the request."""

from pathlib import Path

import pytest

from app.doctor.code.request_keys import examine
from tests.doctoring import examined, found_in, predicting


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("for image in data['images']: pass", "Write 'files'"),
        ("return data['file']", "Write 'files'"),
        ("for file in data['files']:\n    file['bytes']", "Write 'content'"),
        ("files = data['files']\nfor i, f in enumerate(files):\n    f['contenttype']", "Write 'content_type'"),
        ("first = data['files'][0]\nfirst['content_uids']", "Write 'dicom_tags'"),
        ("[f['mime'] for f in data['files']]", "a file has 'content'"),
        ("for i in range(len(data['files'])):\n    data['files'][i]['tags']", "Write 'dicom_tags'"),
        ("for ann in data['annotations']:\n    ann['labelId']", "Write 'label_id'"),
        ("for each in data['label_classes']:\n    each['label']['nme']", "Write 'name'"),
        (
            "for file in data['files']:\n    for ann in file['annotations']:\n        ann['frame']",
            "Write 'frame_number'",
        ),
        (
            "files = data.get('files') or []\nfor file in sorted(files, key=str):\n    file['Content']",
            "Write 'content'",
        ),
    ],
)
def test_a_key_that_no_request_has_is_told_with_the_one_that_was_meant(tmp_path: Path, body: str, told: str) -> None:
    [finding] = examined(examine, tmp_path, predicting(body))
    assert finding.code.name == "M005"
    assert told in finding.fix


def test_the_request_is_followed_into_the_model_s_own_functions(tmp_path: Path) -> None:
    code = (
        "class MDAIModel:\n    def predict(self, data):\n"
        "        return [self.one(f, data['args']) for f in data['files']]\n"
        "    def one(self, file, args):\n        return read(file['bytes'], args['threshold'])\n"
        "def read(content, threshold):\n    return content['x']\n"
    )
    assert found_in(examine, tmp_path, code) == ["M005:5"]


@pytest.mark.parametrize(
    "body",
    [
        "for f in data['files']:\n    f['content'], f['content_type'], f['dicom_tags']",
        "for f in data['files']:\n    f['annotations'], f['label_classes'], f['content_path']",
        "data['args']['anything'], data['label_classes'][0]['label']['short_name']",
        "data['annotations'][0]['data']['x']",
        "data['cache'] = 1\nreturn data['cache']",
        "for f in data['files']:\n    f['array'] = 1\nfor f in data['files']:\n    f['array']",
        "data.update(extra=1)\nreturn data['extra']",
        "for f in data['files']:\n    prepare(f)\n    f['array']",
        "prepare(data['files'])\nfor f in data['files']:\n    f['array']",
        "if 'images' in data:\n    return data['images']",
        "try:\n    return data['images']\nexcept KeyError:\n    return []",
        "data = {'x': 1}\nreturn data['x']",
        "for f in data['files']:\n    data = {'x': 1}\n    data['x']",
        "for f in data['files']:\n    f['content']\nfor f in [{'x': 1}]:\n    f['x']",
        "def inner(data):\n    return data['rows']\nreturn inner({'rows': 1})",
        "return (lambda data: data['rows'])({'rows': 1})",
        "tags = data['files'][0]['dicom_tags']\nreturn tags['StudyInstanceUID']",
        "return dict(data)['x']",
        "return self.data['x']",
        "data, other = load(data)\nreturn data['x']",
    ],
)
def test_whatever_may_be_there_is_silent(tmp_path: Path, body: str) -> None:
    assert found_in(examine, tmp_path, predicting(body)) == []


def test_a_function_that_others_call_with_other_things_is_left_alone(tmp_path: Path) -> None:
    code = (
        predicting("return self.one(data['files'][0])") + "\n    def one(self, file):\n        return file['array']\n"
    )
    assert found_in(examine, tmp_path, code) == ["M005:8"]
    assert found_in(examine, tmp_path / "b", code + "    def two(self):\n        return self.one({'array': 1})\n") == [
        "M005:8"
    ]
    used = code.replace("return self.one(data", "self.two()\n        return self.one(data")
    assert found_in(examine, tmp_path / "c", used + "    def two(self):\n        return self.one({'array': 1})\n") == []


def test_what_is_asked_for_in_vain_is_a_warning(tmp_path: Path) -> None:
    [finding] = examined(examine, tmp_path, predicting("return data.get('images', [])"))
    assert (finding.code.name, finding.code.severity) == ("M017", "warning")


def test_instances_are_told_once_with_what_to_read_instead(tmp_path: Path) -> None:
    body = "for instance in data['instances']:\n    instance['file'], instance['tags']\nreturn data['instances']"
    [finding] = examined(examine, tmp_path, predicting(body))
    assert (finding.code.name, finding.code.severity, finding.place.line) == ("M006", "warning", 6)
    assert "file['content']" in finding.fix


def test_a_model_that_takes_either_interface_is_silent(tmp_path: Path) -> None:
    body = "files = data['files'] if 'files' in data else None\nold = data.get('instances')"
    assert found_in(examine, tmp_path, predicting(body)) == []
