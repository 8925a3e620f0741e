"""What the package can and cannot see of the worker: `sys.modules` and `sys.path`."""

import importlib
import importlib.abc
import importlib.machinery
import os
import sys

#: What the reference server has loaded of the standard library before it imports a model (fastapi, uvicorn, asyncio
#: and numpy pull it in): a package's own `random.py` does not shadow these there, while its `test.py` wins.
STANDARD_LIBRARY = (
    "abc array ast asyncio atexit base64 binascii bisect bz2 calendar codecs collections collections.abc "
    "concurrent.futures concurrent.futures.thread configparser contextlib contextvars copy copyreg csv ctypes "
    "dataclasses datetime decimal dis email email.message email.parser email.utils enum errno fcntl fnmatch fractions "
    "functools genericpath gettext hashlib heapq hmac html html.entities http http.client http.cookies importlib.abc "
    "importlib.machinery importlib.metadata importlib.resources importlib.util inspect io ipaddress itertools json "
    "keyword linecache locale logging logging.config logging.handlers lzma math mimetypes multiprocessing "
    "multiprocessing.connection multiprocessing.util ntpath numbers opcode operator os pathlib pickle platform "
    "posixpath queue quopri random re reprlib secrets select selectors shlex shutil signal socket socketserver ssl "
    "stat string struct subprocess sysconfig tempfile textwrap threading time token tokenize traceback types typing "
    "urllib.error urllib.parse urllib.request uuid warnings weakref zipfile zipimport zlib zoneinfo "
).split()

#: Our own top-level packages, which share a folder with the interpreter's others under `--environment current`.
OUR_NAMES = ("app", "model_loader")
_OWN_PACKAGE = __name__.split(".")[0]


def preload_standard_library():
    """Load what the reference would have loaded, while only the interpreter's own folders are on `sys.path`."""
    for name in STANDARD_LIBRARY:
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # younger than this interpreter, or built without it


def withdraw(runtime):
    """Take the worker's folder, its modules and its msgpack out of the package's sight; they go on working."""
    own_folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:] = [entry for entry in sys.path if entry not in (runtime, own_folder)]
    for name in list(sys.modules):
        if name.split(".")[0] in (_OWN_PACKAGE, "msgpack"):
            del sys.modules[name]
    sys.path_importer_cache.clear()
    sys.argv = [""]


def hide(folders):
    """Keep `app` and `model_loader` that lie in `folders` from being imported; the package's own still are.

    A folder that holds the server's sources (an editable installation) leaves `sys.path` altogether.
    """
    if not folders:
        return
    hidden = {os.path.realpath(folder) for folder in folders}
    sources = {folder for folder in hidden if os.path.basename(folder) not in ("site-packages", "dist-packages")}
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) not in sources]
    sys.meta_path.insert(0, _HiddenNames(hidden))


class _HiddenNames(importlib.abc.MetaPathFinder):
    def __init__(self, folders):
        self._folders = folders

    def find_spec(self, name, path=None, target=None):
        if path is not None or name not in OUR_NAMES:
            return None
        visible = [entry for entry in sys.path if os.path.realpath(entry) not in self._folders]
        spec = importlib.machinery.PathFinder.find_spec(name, visible)
        if spec is None:
            raise ModuleNotFoundError("No module named %r" % name, name=name)
        return spec
