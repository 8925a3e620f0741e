"""What helps against exceptions of packages that are older than what their requirements let in."""

import pytest

from model_loader.worker.mdai_guest import hints

TOLD = [
    (AttributeError("'str' object has no attribute 'decode'"), "h5py<3"),
    (TypeError("Descriptors cannot not be created directly.\nIf this call came from a _pb2.py file"), "protobuf<3.21"),
    (TypeError("Descriptors cannot be created directly.\nIf this call came from a _pb2.py file"), "protobuf<3.21"),
    (AttributeError("module 'numpy' has no attribute 'float'.\n`np.float` was a deprecated alias"), "numpy<1.24"),
    (AttributeError("`np.float_` was removed in the NumPy 2.0 release. Use `np.float64` instead."), "numpy<2"),
    (ImportError("A module that was compiled using NumPy 1.x cannot be run in\nNumPy 2.0.2"), "numpy<2"),
    (ValueError("numpy.dtype size changed. Expected 96 from C header, got 88 from PyObject"), "numpy<2"),
    (AttributeError("module 'cv2' has no attribute 'CascadeClassifier'"), "opencv-python-headless<5"),
    (ImportError("cannot import name 'soft_unicode' from 'markupsafe'"), "markupsafe<2.1"),
]
SILENT = [
    AttributeError("module 'numpy' has no attribute 'floats'"),
    AttributeError("'str' object has no attribute 'decoded'"),
    ValueError("numpy.dtype size changed. Expected 88 from C header, got 96 from PyObject"),
]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(("error", "requirement"), TOLD, ids=[f"{row[1]}-{row[0]!r:.30}" for row in TOLD])
def test_what_was_published_too_late_for_a_package_is_named_with_the_bound_that_helps(
    error: Exception, requirement: str
) -> None:
    about = [hints.about_import(error, "/m/.mdai/mdai_deploy.py"), hints.about_init(error, object, "/m")]
    for hint in [*about, hints.about_predict(error, "/m")]:
        assert hint.startswith(" ") and hint.endswith(".")
        assert f"name {requirement} in .mdai/requirements.txt, or serve with --exclude-newer" in hint


@pytest.mark.parametrize("error", [*SILENT, Unspeakable()], ids=lambda error: type(error).__name__)
def test_nothing_is_said_of_what_only_looks_like_it(error: Exception) -> None:
    assert hints.about_predict(error, "/m") == ""
