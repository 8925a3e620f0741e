"""Platform exports for tests: a model.json and archives of versions, as files."""

import json
import tarfile
import zipfile
from collections.abc import Mapping
from io import BytesIO
from typing import Any

DEPLOY = "class MDAIModel:\n    def predict(self, data):\n        return []\n"
PACKAGE = {"model/.mdai/mdai_deploy.py": DEPLOY, "model/.mdai/config.yaml": "base_image: py311\n"}

#: As the platform writes it, keys included that nobody here needs.
DESCRIPTION: dict[str, Any] = {
    "model": {
        "id": "M_1",
        "name": "Lung finder",
        "scope": "series",
        "status": {"deployed": True},
        "labelClasses": [{"labelId": "L_b", "classIndex": 1}, {"labelId": "L_a", "classIndex": 0, "more": 1}],
    },
    "labels": [
        {
            "id": "L_a",
            "name": "Right lung",
            "type": "local",
            "scope": "instance",
            "annotationMode": "bbox",
            "shortName": "R",
            "description": "",
            "color": "#ff0000",
            "parentId": None,
            "radlexTagIds": [],
        },
        {"id": "L_b", "name": "Nodules", "type": "GLOBAL", "scope": "SERIES"},
        {"id": "L_c", "name": "Of another model", "scope": "STUDY"},
    ],
}
NONE_KNOWN = dict.fromkeys(("type", "scope", "annotation_mode", "short_name", "description", "parent_id"))
#: DESCRIPTION as a request would carry it.
REQUESTED = (
    {"class_index": 1, "label": {**NONE_KNOWN, "id": "L_b", "name": "Nodules", "type": "GLOBAL", "scope": "SERIES"}},
    {
        "class_index": 0,
        "label": {
            "id": "L_a",
            "name": "Right lung",
            "type": "LOCAL",
            "scope": "INSTANCE",
            "annotation_mode": "bbox",
            "short_name": "R",
            "description": "",
            "parent_id": None,
        },
    },
)


def zipped(files: Mapping[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of `files`."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: Mapping[str, str | bytes]) -> bytes:
    """A tar.gz archive of `files`."""
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, BytesIO(data))
    return stream.getvalue()


def export_files(
    at: str = "",
    versions: Mapping[int, Mapping[str, str | bytes]] | None = None,
    description: object = DESCRIPTION,
) -> dict[str, str | bytes]:
    """The files of an export in the folder `at` ("" or "a/b/"), by default of the versions 1, 2 and 10."""
    files: dict[str, str | bytes] = {f"{at}model.json": json.dumps(description)}
    for number, package in (versions or {n: {**PACKAGE, "model/version": str(n)} for n in (1, 2, 10)}).items():
        files[f"{at}source/v{number}.zip"] = zipped(package)
    return files
