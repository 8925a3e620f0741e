"""Platform exports: which version is opened, what model.json gives, and what is said of one that is not whole."""

import copy
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgpack
import pytest

from model_loader.archive import ArchiveLimits
from model_loader.errors import ArchiveError, ConfigError, LayoutError, PackageError
from model_loader.export import LARGEST_LABEL_CLASSES
from model_loader.package import ModelPackage, open_package
from tests.building import write_files
from tests.exports import DEPLOY, DESCRIPTION, NONE_KNOWN, PACKAGE, REQUESTED, export_files, tarred, zipped

Files = Mapping[str, str | bytes]
Packer = Callable[[Path, Files], Path]


def as_folder(place: Path, files: Files) -> Path:
    return write_files(place / "given", files)


def as_zip(place: Path, files: Files) -> Path:
    place.mkdir(exist_ok=True)
    (place / "given.zip").write_bytes(zipped(files))
    return place / "given.zip"


def as_tar_gz(place: Path, files: Files) -> Path:
    place.mkdir(exist_ok=True)
    (place / "given.tar.gz").write_bytes(tarred(files))
    return place / "given.tar.gz"


every_form = pytest.mark.parametrize("pack", [as_folder, as_zip, as_tar_gz])


def opened(place: Path, files: Files, pack: Packer = as_folder, **options: Any) -> ModelPackage:
    return open_package(pack(place, files), scratch=place / "scratch", **options)


def refusal(
    place: Path, files: Files, pack: Packer = as_folder, error: type[PackageError] = LayoutError, **options: Any
) -> str:
    with pytest.raises(PackageError) as caught:
        opened(place, files, pack, **options)
    assert type(caught.value) is error
    scratch = place / "scratch"
    assert not scratch.exists() or list(scratch.iterdir()) == []
    assert caught.value.text.endswith(".") and "\n" not in caught.value.text
    return caught.value.text


def version_of(package: ModelPackage) -> str:
    return (package.root / "version").read_text()


def described(**changes: Any) -> dict[str, Any]:
    """DESCRIPTION with other keys in its model."""
    description = copy.deepcopy(DESCRIPTION)
    description["model"] |= changes
    return description


# Which version


@every_form
@pytest.mark.parametrize("at", ["", "lungs/", "a/b/with space/"])
def test_the_highest_version_is_opened_wherever_the_export_lies(tmp_path: Path, pack: Packer, at: str) -> None:
    package = opened(tmp_path, export_files(at), pack)
    assert (version_of(package), package.version, package.versions) == ("10", 10, (1, 2, 10))
    assert package.config.base_image == "py311"
    assert package.root.name == "model"
    assert package.warnings == ()


@every_form
def test_a_version_is_chosen_by_its_number(tmp_path: Path, pack: Packer) -> None:
    package = opened(tmp_path, export_files("lungs/"), pack, model_version=2)
    assert (version_of(package), package.version) == ("2", 2)


@every_form
def test_of_an_export_in_an_archive_only_the_version_that_is_served_stays_on_the_disk(
    tmp_path: Path, pack: Packer
) -> None:
    package = opened(tmp_path, export_files("lungs/"), pack)
    [unpacked] = (tmp_path / "scratch").iterdir()
    assert package.root.is_relative_to(unpacked)
    assert not list(unpacked.rglob("*.zip"))


def test_a_folder_is_not_written_to(tmp_path: Path) -> None:
    files = export_files("lungs/")
    opened(tmp_path, files)
    given = tmp_path / "given"
    assert sorted(p.relative_to(given).as_posix() for p in given.rglob("*") if p.is_file()) == sorted(files)


@every_form
def test_a_version_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path, pack: Packer) -> None:
    text = refusal(tmp_path, export_files(), pack, model_version=7)
    assert "--model-version is 7, but " in text
    assert "holds the versions 1, 2, 10. Choose one that is there, or leave the option out: it is then the hi" in text
    assert "holds version 3 only." in refusal(tmp_path / "b", export_files("", {3: PACKAGE}), pack, model_version=0)


@every_form
def test_a_version_of_a_package_that_is_no_export_is_refused(tmp_path: Path, pack: Packer) -> None:
    text = refusal(tmp_path, PACKAGE, pack, model_version=1)
    assert "is no platform export: it holds one model, model/.mdai. Leave the option out." in text


@every_form
def test_a_version_that_is_unpacked_already_counts_as_md_ai_s_own_client_has_it(tmp_path: Path, pack: Packer) -> None:
    """It unpacks source/v1.zip to source/v1 and takes that from then on."""
    files = export_files("", {1: {**PACKAGE, "model/version": "packed"}})
    unpacked = {f"source/v1/{name}": content for name, content in PACKAGE.items()}
    package = opened(tmp_path, files | unpacked | {"source/v1/model/version": "unpacked"}, pack)
    assert (version_of(package), package.version, package.label_classes) == ("unpacked", 1, REQUESTED)
    assert len(list((tmp_path / "scratch").glob("*"))) == (0 if pack is as_folder else 1)


def test_a_version_may_be_any_archive_that_a_package_may_be(tmp_path: Path) -> None:
    files = export_files("", {1: PACKAGE}) | {"source/v2.zip": tarred({**PACKAGE, "model/version": "tar"})}
    assert version_of(opened(tmp_path, files)) == "tar"


# What it is called, and what model.json gives


@pytest.mark.parametrize(
    ("at", "name", "expected"),
    [
        ("", "Lung finder", "Lung finder v10"),
        ("", " ", "given v10"),
        ("lungs/", None, "lungs v10"),
        ("lungs/", 5, "lungs v10"),
        ("", "a\u001bb" + "c" * 200, "a\ufffdb" + "c" * 77 + " v10"),
    ],
)
@every_form
def test_the_name_is_the_model_s_and_its_version(
    tmp_path: Path, pack: Packer, at: str, name: Any, expected: str
) -> None:
    assert opened(tmp_path, export_files(at, description=described(name=name)), pack).name == expected


@every_form
def test_scope_and_label_classes_have_the_form_of_a_request_s(tmp_path: Path, pack: Packer) -> None:
    package = opened(tmp_path, export_files(), pack)
    assert package.scope == "SERIES"
    assert package.label_classes == REQUESTED
    assert [list(one["label"]) for one in package.label_classes] == [list(REQUESTED[1]["label"])] * 2


def test_a_plain_package_has_none_of_it(tmp_path: Path) -> None:
    package = opened(tmp_path, PACKAGE)
    assert (package.version, package.versions, package.scope, package.label_classes) == (None, (), None, ())


@pytest.mark.parametrize(
    ("scope", "expected"), [("Instance", "INSTANCE"), (" exam ", "EXAM"), ("new", "NEW"), ("", None), (7, None)]
)
def test_a_scope_is_kept_in_upper_case_whatever_it_is(tmp_path: Path, scope: Any, expected: str | None) -> None:
    assert opened(tmp_path, export_files(description=described(scope=scope))).scope == expected


def test_keys_that_nobody_needs_may_hold_anything_or_be_missing(tmp_path: Path) -> None:
    description = {
        "model": {"labelClasses": [{"labelId": "L", "classIndex": 0, "labelGroup": 1}], "name": {}, "id": 5},
        "labels": [{"id": "L", "name": 5, "annotationMode": [], "color": {}}],
        "project": None,
    }
    package = opened(tmp_path, export_files(description=description))
    assert package.label_classes == ({"class_index": 0, "label": {**NONE_KNOWN, "id": "L", "name": None}},)
    assert (package.name, package.scope, package.warnings) == ("given v10", None, ())


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    files = export_files() | {"model.json": b"\xef\xbb\xbf" + json.dumps(DESCRIPTION).encode()}
    assert opened(tmp_path, files).label_classes == REQUESTED


def test_what_does_not_fit_together_is_a_warning_and_all_of_it_is_kept(tmp_path: Path) -> None:
    classes = [{"labelId": label, "classIndex": index} for label, index in (("L_a", 0), ("L_x", 3), ("L_c", 0))]
    package = opened(tmp_path, export_files("lungs/", description=described(labelClasses=classes)))
    shown = f"{tmp_path}/given/lungs/model.json"
    assert package.warnings == (
        f"{shown}: no label has the id L_x, which labelClasses name.",
        f"{shown}: more than one of the labelClasses has the classIndex 0; outputs are judged by the first.",
    )
    assert [(one["class_index"], one["label"]["name"]) for one in package.label_classes] == [
        (0, "Right lung"),
        (3, None),
        (0, "Of another model"),
    ]
    assert package.label_classes[1]["label"]["id"] == "L_x"


@pytest.mark.parametrize("classes", [None, []])
def test_an_export_without_label_classes_is_served_with_a_warning(tmp_path: Path, classes: Any) -> None:
    package = opened(tmp_path, export_files(description=described(labelClasses=classes)))
    assert package.label_classes == ()
    assert [text.partition("model.json ")[2] for text in package.warnings] == [
        "has no label classes (model.labelClasses), so requests get none from it."
    ]


def test_label_classes_that_would_fill_the_channel_are_left_out_with_a_warning(tmp_path: Path) -> None:
    labels = [{"id": f"L_{n}", "name": "n", "description": "d" * 100} for n in range(2000)]
    classes = [{"labelId": f"L_{n}", "classIndex": n} for n in range(2000)]
    package = opened(tmp_path, export_files(description={"model": {"labelClasses": classes}, "labels": labels}))
    assert package.label_classes == ()
    assert "the 2,000 label classes take " in package.warnings[0]
    few = described(labelClasses=classes[:800]) | {"labels": labels}
    package = opened(tmp_path / "few", export_files(description=few))
    assert len(package.label_classes) == 800
    assert len(msgpack.packb(package.label_classes)) < LARGEST_LABEL_CLASSES


# Which of several


@every_form
def test_two_at_the_same_depth_are_listed_and_the_option_chooses(tmp_path: Path, pack: Packer) -> None:
    files = export_files("x/one/") | export_files("x/two/", {1: {"m/.mdai/mdai_deploy.py": DEPLOY}})
    assert (
        "holds 2 platform exports at the same depth: x/one/model.json, x/two/model.json. "
        "Choose one, for example with `--model-root x/one`."
    ) in refusal(tmp_path, files, pack)
    for model_root in ("x/two", "x/two/", "./x/two", "x/two/m", "x/two/m/.mdai"):
        package = opened(tmp_path, files, pack, model_root=model_root)
        assert (package.root.name, package.version) == ("m", 1)
    assert "is 'x/three', but " in refusal(tmp_path / "b", files, pack, model_root="x/three")


@every_form
def test_the_shallowest_wins(tmp_path: Path, pack: Packer) -> None:
    files = export_files("x/deeper/") | export_files("one/", {4: PACKAGE})
    assert opened(tmp_path, files, pack).version == 4


@pytest.mark.parametrize("at", ["", "lungs/"])
@every_form
def test_of_two_models_in_one_version_the_option_that_is_named_chooses(tmp_path: Path, pack: Packer, at: str) -> None:
    files = export_files(at, {3: {f"{name}/.mdai/mdai_deploy.py": DEPLOY for name in ("one", "two")}})
    text = refusal(tmp_path, files, pack)
    assert f"{at}source/v3.zip" in text
    assert "holds 2 models at the same depth: one/.mdai, two/.mdai. Choose one, for example with " in text
    assert f"`--model-root {at}one`." in text
    for model_root in ("two", f"{at}two"):
        assert opened(tmp_path, files, pack, model_root=model_root).root.name == "two"
    missing = refusal(tmp_path / "b", files, pack, model_root="three")
    assert missing.startswith("--model-root is 'three', but ") and "v3.zip" in missing


@every_form
def test_a_model_root_that_lies_open_wins_over_an_export_with_a_warning(tmp_path: Path, pack: Packer) -> None:
    """As it was before exports were served: no package changes its meaning."""
    files = export_files("lungs/") | {"deep/er/demo/.mdai/mdai_deploy.py": DEPLOY}
    package = opened(tmp_path, files, pack)
    assert (package.root.name, package.version, package.label_classes) == ("demo", None, ())
    assert package.warnings == (
        "deep/er/demo/.mdai is served, and the platform export of lungs/model.json is not; "
        "`--model-root lungs` serves that.",
    )
    assert opened(tmp_path, files, pack, model_root="lungs").version == 10


TFJS = {"format": "layers-model", "modelTopology": {"model_config": {}}, "weightsManifest": []}


@pytest.mark.parametrize("content", [json.dumps(TFJS), "[]", "{", "", json.dumps({"model": {"type": "gbtree"}})])
@every_form
def test_a_package_with_a_model_json_of_its_own_is_a_package(tmp_path: Path, pack: Packer, content: str) -> None:
    files = {**PACKAGE, "model.json": content, "model/model.json": content, "source/v1.zip": "x"}
    package = opened(tmp_path, files, pack)
    assert (package.root.name, package.version, package.warnings) == ("model", None, ())


def test_a_folder_named_like_a_version_beside_a_model_json_of_another_kind_is_none(tmp_path: Path) -> None:
    unpacked = {f"source/v1/{name}": content for name, content in PACKAGE.items()}
    assert opened(tmp_path, {"model.json": json.dumps(TFJS), **unpacked}).version is None
    text = refusal(tmp_path / "b", {"model.json": json.dumps(TFJS), "source/v1/net.py": "x"})
    assert "has no folder named .mdai" in text


def test_a_pipe_named_model_json_keeps_nobody_waiting(tmp_path: Path) -> None:
    given = as_folder(tmp_path, {"source/v1.zip": "x"})
    os.mkfifo(given / "model.json")
    assert "has no folder named .mdai" in refusal(tmp_path, {})


# What is wrong with it


@every_form
def test_a_version_that_lost_its_hidden_folder_is_named_with_its_place(tmp_path: Path, pack: Packer) -> None:
    text = refusal(tmp_path, export_files("lungs/", {3: {"model/net.py": "x"}}), pack)
    assert "lungs/source/v3.zip" in text
    assert "has no folder named .mdai. `zip -r model.zip *` leaves hidden folders out" in text


@every_form
def test_a_version_with_a_bad_configuration_is_refused(tmp_path: Path, pack: Packer) -> None:
    version = {"m/.mdai/mdai_deploy.py": DEPLOY, "m/.mdai/config.yaml": "- x"}
    assert ".mdai/config.yaml, line 1" in refusal(tmp_path, export_files("", {1: version}), pack, ConfigError)


@every_form
def test_a_version_that_is_no_archive_is_named_with_its_place(tmp_path: Path, pack: Packer) -> None:
    files = export_files("lungs/") | {"lungs/source/v11.zip": "<html>"}
    text = refusal(tmp_path, files, pack, ArchiveError)
    assert "lungs/source/v11.zip" in text and "cannot be unpacked: it is a web page" in text


def test_an_export_inside_a_version_is_not_opened(tmp_path: Path) -> None:
    text = refusal(tmp_path, export_files("", {1: export_files()}))
    assert text.endswith("source/v1.zip holds another platform export, not a package. Unpack it and serve that one.")


@every_form
def test_a_model_json_without_versions_says_what_is_missing(tmp_path: Path, pack: Packer) -> None:
    only = {"lungs/model.json": json.dumps(DESCRIPTION)}
    text = refusal(tmp_path / "a", only, pack)
    assert "has the model.json of a platform export, lungs/model.json, but no folder source beside it" in text
    text = refusal(tmp_path / "b", {**only, "lungs/source/README": "x"}, pack)
    assert "but no vN.zip in lungs/source." in text


@every_form
def test_archives_that_have_another_name_than_a_version_s_are_listed(tmp_path: Path, pack: Packer) -> None:
    names = ["v3 (1).zip", "3.zip", "v03.zip", "v1.2.zip", "V4.ZIP", "v5.tar.gz", "v٣.zip"]
    files = {"lungs/model.json": json.dumps(DESCRIPTION)} | {f"lungs/source/{name}": "x" for name in names}
    text = refusal(tmp_path, files, pack)
    assert f"but no version in lungs/source (it holds {', '.join(sorted(names))})." in text
    assert "A version is named vN.zip, such as v3.zip: rename the archive." in text


def test_they_are_a_warning_where_there_are_versions(tmp_path: Path) -> None:
    files = export_files() | {"source/v10 (1).zip": "x", "source/notes.txt": "x", "source/._v3.zip": "x"}
    package = opened(tmp_path, files)
    assert package.versions == (1, 2, 10)
    assert package.warnings == ("v10 (1).zip in source is no version: a version is named vN.zip, such as v3.zip.",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", " is not JSON: EOF while parsing a value at line 1 column 0."),
        ('{"model": \n nul}', " is not JSON: "),
        ("[" * 100_000, " is not JSON: recursion limit exceeded"),
        (b'{"model": {"name": "\xff"}}', " is not JSON: invalid unicode code point"),
        ('{"model": {"labelClasses": [{"labelId": "\\ud800", "classIndex": 0}]}}', " is not JSON: "),
        ("[]", ": the document is a list, not a map."),
        ("{}", ": model is missing."),
        ('{"model": 5}', ": model is 5, not a map."),
        ('{"model": {"labelClasses": {}}}', ": model.labelClasses is a map, not a list."),
        ('{"model": {"labelClasses": [5]}}', ": model.labelClasses[0] is 5, not a map."),
        ('{"model": {"labelClasses": [{"classIndex": 1}]}}', ": model.labelClasses[0].labelId is missing."),
        (
            '{"model": {"labelClasses": [{"labelId": "a", "classIndex": "1"}, {"labelId": null, "classIndex": true}]}}',
            ": model.labelClasses[0].classIndex is '1', not a whole number; model.labelClasses[1].classIndex is True, "
            "not a whole number; model.labelClasses[1].labelId is null, not a text.",
        ),
        (
            '{"model": {"labelClasses": [{"labelId": "a", "classIndex": -1}]}}',
            ": model.labelClasses[0].classIndex is -1, but should be greater than or equal to 0.",
        ),
        (
            '{"model": {"labelClasses": [{"labelId": "a", "classIndex": 1' + "0" * 30 + "}]}}",
            "0, but should be less than 2147483648.",
        ),
        ('{"model": {}, "labels": [{"name": "x"}]}', ": labels[0].id is missing."),
        ('{"model": {}, "labels": [1, 2, 3, 4, 5]}', "; and 2 more."),
    ],
)
@every_form
def test_a_model_json_that_cannot_be_used_is_told_with_the_key(
    tmp_path: Path, pack: Packer, content: str | bytes, expected: str
) -> None:
    text = refusal(tmp_path, export_files("lungs/") | {"lungs/model.json": content}, pack, ConfigError)
    assert "lungs/model.json" in text
    assert expected in text
    assert text.endswith(" Export the model again, or mend the file.")
    assert len(text.replace(str(tmp_path), "")) < 400


def test_a_huge_model_json_is_not_read(tmp_path: Path) -> None:
    given = as_folder(tmp_path, export_files())
    with (given / "model.json").open("wb") as file:
        file.truncate(1 << 40)
    text = refusal(tmp_path, {}, error=ConfigError)
    assert "model.json is larger than 16 MiB, and an export's has some kilobytes." in text


# The limits hold for the export and its version together


ZEROS = {**PACKAGE, "model/weights": bytes(6 << 20)}


def packed_twice() -> bytes:
    """Six megabytes in some hundred bytes."""
    return zipped(export_files("", {1: ZEROS}))


def test_an_archive_packed_twice_unpacks_to_no_more_than_one_packed_once(tmp_path: Path) -> None:
    limits = ArchiveLimits(ratio=200, ratio_floor=1 << 20)
    version = zipped(ZEROS, zipfile.ZIP_DEFLATED)
    once, twice = len(version), len(packed_twice())
    assert once * 1100 > (6 << 20) > once * 900 and twice < once, "six megabytes in six kilobytes in less"
    text = refusal(tmp_path, {}, lambda place, _: _file(place, packed_twice()), ArchiveError, limits=limits)
    assert "source/v1.zip in " in text and "times its own size" in text
    lenient = ArchiveLimits(ratio=1100, ratio_floor=1 << 20)
    text = refusal(tmp_path / "b", {}, lambda place, _: _file(place, packed_twice()), ArchiveError, limits=lenient)
    assert "cannot be unpacked: what it lies in unpacks to more than 1100 times its own size" in text
    assert opened(tmp_path / "c", export_files("", {1: ZEROS}), limits=lenient).version == 1


def test_what_announces_nothing_is_counted_as_it_comes_out(tmp_path: Path) -> None:
    """A tar has no table of contents."""
    twice = zipped({"model.json": json.dumps(DESCRIPTION), "source/v1.zip": tarred(ZEROS)})
    limits = ArchiveLimits(ratio=(6 << 20) // len(tarred(ZEROS)) + 10, ratio_floor=1 << 20)
    assert len(twice) * limits.ratio < 6 << 20, "packed twice it is smaller still"
    text = refusal(tmp_path, {}, lambda place, _: _file(place, twice), ArchiveError, limits=limits)
    assert "what it lies in unpacks to more than" in text
    files = {"model.json": json.dumps(DESCRIPTION), "source/v1.zip": tarred(PACKAGE), "notes": "y" * 3000}
    text = refusal(tmp_path / "b", files, as_zip, ArchiveError, limits=ArchiveLimits(total_bytes=3800))
    assert "v1.zip in " in text and "what it lies in unpacks to more than 3.711 KiB" in text


def test_bytes_and_files_count_together(tmp_path: Path) -> None:
    files = export_files("", {1: {**PACKAGE, "model/weights": "x" * 3000}}) | {"notes": "y" * 3000}
    text = refusal(tmp_path, files, as_zip, ArchiveError, limits=ArchiveLimits(total_bytes=6000))
    assert "v1.zip in " in text and "unpacks to more than 5.859 KiB" in text
    assert opened(tmp_path, files, as_zip, limits=ArchiveLimits(total_bytes=9000)).version == 1
    text = refusal(tmp_path / "b", files, as_zip, ArchiveError, limits=ArchiveLimits(members=7))
    assert "v1.zip in " in text and "what it lies in holds more than 7 files and folders" in text
    assert opened(tmp_path / "c", files, as_zip, limits=ArchiveLimits(members=9)).version == 1
    text = refusal(tmp_path / "d", files, as_folder, ArchiveError, limits=ArchiveLimits(members=4))
    assert "it holds more than 4 files and folders" in text


def test_a_version_is_unpacked_as_safely_as_any_archive(tmp_path: Path) -> None:
    text = refusal(tmp_path, export_files("", {1: {**PACKAGE, "../../out": "x"}}), as_zip, ArchiveError)
    assert "source/v1.zip in " in text and "leads out of its folder" in text
    assert not list(tmp_path.rglob("out"))


def _file(place: Path, content: bytes) -> Path:
    place.mkdir(exist_ok=True)
    (place / "given.zip").write_bytes(content)
    return place / "given.zip"
