"""What most likely helps against an exception out of the package's code, as a sentence behind its text."""

import inspect
import os
import re

#: Modules whose distribution has another name.
DISTRIBUTIONS = {
    "absl": "absl-py",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cc3d": "connected-components-3d",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "pymupdf",
    "gdcm": "python-gdcm",
    "git": "gitpython",
    "hydra": "hydra-core",
    "imblearn": "imbalanced-learn",
    "jpeg_ls": "pyjpegls",
    "libjpeg": "pylibjpeg-libjpeg",
    "mpl_toolkits": "matplotlib",
    "openjpeg": "pylibjpeg-openjpeg",
    "osgeo": "gdal",
    "PIL": "pillow",
    "pkg_resources": "setuptools<81",
    "pl_bolts": "lightning-bolts",
    "pylab": "matplotlib",
    "pywt": "pywavelets",
    "rle": "pylibjpeg-rle",
    "skimage": "scikit-image",
    "skvideo": "scikit-video",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "yaml": "pyyaml",
}

#: What code meets that is older than what its requirements let in: a sign of it, why, and what to list instead.
_OUTGROWN = (
    (r"'str' object has no attribute 'decode'$", "h5py 3 reads text where Keras before 2.4 expects bytes", "h5py<3"),
    (
        r"Descriptors cannot (not )?be created directly",
        "protobuf 4 does not take older generated code",
        "protobuf<3.21",
    ),
    (r"'numpy' has no attribute '(bool|int|float|complex|object|str)'", "numpy 1.24 no longer has it", "numpy<1.24"),
    (r"was removed in the NumPy 2\.0 release", "numpy 2 no longer has it", "numpy<2"),
    (r"compiled using NumPy 1\.x|dtype size changed.* got 88", "it was compiled for numpy 1", "numpy<2"),
    (
        r"'cv2' has no attribute '(CascadeClassifier|HOGDescriptor)",
        "OpenCV 5 has it no more",
        "opencv-python-headless<5",
    ),
    (r"cannot import name 'soft_unicode'", "markupsafe 2.1 no longer has it", "markupsafe<2.1"),
)


def about_import(error, path):
    """A hint about an exception while `path`, mdai_deploy.py, was imported; "" where there is none."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        name = error.name.split(".")[0]
        advice = "if it comes from a distribution, name that in .mdai/requirements.txt"
        if name in DISTRIBUTIONS:
            advice = "it comes with %s, to be named in .mdai/requirements.txt" % DISTRIBUTIONS[name]
        return " The package has no module %r of its own and its environment has none installed: %s." % (name, advice)
    if isinstance(error, ImportError) and "libGL.so" in str(error):
        return " opencv-python needs a graphics library: name opencv-python-headless instead in .mdai/requirements.txt."
    return _about_anything(error, os.path.dirname(os.path.dirname(path)))


def about_init(error, model_class, root):
    """A hint about an exception out of `model_class()`, whose package lies at `root`."""
    needed = _needed_parameters(model_class)
    if isinstance(error, TypeError) and needed:
        return " The server builds it without arguments: give %s a default." % ", ".join(needed)
    return _about_anything(error, root)


def about_predict(error, root):
    """A hint about an exception out of `predict`."""
    return _about_anything(error, root)


def _about_anything(error, root):
    return _about_files(error, root) or _about_devices(error) or _about_age(error)


def _needed_parameters(model_class):
    try:
        parameters = inspect.signature(model_class).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each.name for each in parameters if each.default is each.empty and each.kind not in optional]


def _about_files(error, root):
    """Relative paths do not begin in the package, as they do where its author tried it."""
    name = getattr(error, "filename", None)
    if not isinstance(error, FileNotFoundError) or not isinstance(name, str) or os.path.isabs(name):
        return ""
    where = "; the file lies in the model root" if os.path.exists(os.path.join(root, name)) else ""
    return (
        " Relative paths begin in a private folder in which ./lib is the model root%s: open os.path.join('lib', ...),"
        " or a path that begins with os.path.dirname(__file__)." % where
    )


def _about_devices(error):
    text = str(error) if isinstance(error, (RuntimeError, AssertionError)) else ""
    if "NVIDIA driver" in text or "not compiled with CUDA" in text or "No CUDA GPUs" in text:
        return (
            " No GPU is visible to this worker: choose the device with"
            " 'cuda' if torch.cuda.is_available() else 'cpu', and load weights with map_location."
        )
    return ""


def _about_age(error):
    """Requirements without upper bounds bring what was published after the package was written."""
    try:
        text = str(error)
    except Exception:  # an exception class of the package's with a broken __str__
        return ""
    for sign, reason, requirement in _OUTGROWN:
        if re.search(sign, text):
            return (
                " %s: name %s in .mdai/requirements.txt, or serve with --exclude-newer and a day on which the package"
                " worked." % (reason[0].upper() + reason[1:], requirement)
            )
    return ""
