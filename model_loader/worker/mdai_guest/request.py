"""From the request as it was sent to the `data` that `predict` gets."""

import os

from .content_path import normal_path


def adapt(message, label_classes=list, folder=""):
    """`message` as models expect it: the lists and mappings they index are there, and the files point at them.

    Missing or null `annotations` and `args` become empty (most public models index them without looking), and
    `label_classes` what the function of that name makes: a new list each time, as the model may change it. A list that
    was sent stays, an empty one too: it is how a client says that there are none. Each file gets `annotations` and
    `label_classes` by reference unless it has its own, as the documentation says; its `content_path` becomes absolute,
    below `folder`, where the server has put the files that were loaded ahead. `files` may be in groups. Raises
    ValueError where there are no files to speak of.
    """
    if not isinstance(message, dict) or not isinstance(message.get("files"), list):
        raise ValueError("the request is no map with a list under 'files'")
    data = RequestData(message)
    for key, empty in (("annotations", list), ("label_classes", label_classes), ("args", dict)):
        if data.get(key) is None:
            data[key] = empty()
    for file in _each_file(data["files"]):
        if isinstance(file, dict):
            file.setdefault("annotations", data["annotations"])
            file.setdefault("label_classes", data["label_classes"])
            if folder and file.get("content_path"):
                file["content_path"] = os.path.join(folder, normal_path(file["content_path"]))
    return data


def is_grouped(files):
    """Whether `files` is a list of groups, each a list of files: the first tells."""
    return bool(files) and isinstance(files[0], list)


def _each_file(files):
    if not is_grouped(files):
        return files
    return [file for group in files for file in (group if isinstance(group, list) else [group])]


class RequestData(dict):
    """A request that also answers to the name it had in version 0.1 of the interface.

    `data["instances"]` is a list of `{"file": bytes, "tags": {…}}`, made from the files when it is first asked for.
    """

    def __missing__(self, key):
        if key != "instances":
            raise KeyError(key)
        instances = self["instances"] = [_instance(file) for file in self["files"]]
        return instances

    def __reduce__(self):
        """Copies and pickles are plain dicts: a child process of the package's cannot import this class."""
        return dict, (dict(self),)


def _instance(file):
    content = file["content"]
    if content is None and file.get("content_path"):
        with open(file["content_path"], "rb") as loaded:
            content = loaded.read()
    tags = file.get("dicom_tags")
    if tags is None and file.get("content_type") == "application/dicom":
        tags = _read_tags(content)
    return {"file": content, "tags": tags or {}}


def _read_tags(content):
    import io

    import pydicom  # the package's own: models that ask for instances read DICOM

    dataset = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, force=True)
    keywords = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Modality")
    return {keyword: str(dataset[keyword].value) for keyword in keywords if keyword in dataset}
