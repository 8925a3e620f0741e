"""What the package can and cannot see of the worker: `sys.modules` and `sys.path`."""

import importlib
import importlib.abc
import importlib.machinery
import os
import sys

#: What the reference server has loaded of the standard library before it imports a model (fastapi, uvicorn, asyncio
#: and numpy pull it in): a package's own `random.py` does not shadow these there, while its `test.py` wins.
STANDARD_LIBRARY = (
    "abc array ast asyncio atexit base64 binascii bisect bz2 calendar codecs collections collections.abc colorsys "
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


def show(root, import_folders, hidden):
    """Put the package on `sys.path`: its root and `.mdai` first, its other folders that hold Python files last.

    These two and the working directory, in which `lib` is the root and so `from lib.network import Network` works,
    come before the standard library, as they do on the reference server.
    `app` and `model_loader` that lie in the folders `hidden` are not to be imported; the package's own still are. One
    that holds the server's sources (an editable installation) leaves `sys.path` altogether.
    """
    hidden = {os.path.realpath(folder) for folder in hidden}
    sources = {folder for folder in hidden if os.path.basename(folder) not in ("site-packages", "dist-packages")}
    others = [entry for entry in sys.path if os.path.realpath(entry) not in sources]
    sys.path[:] = [root, os.path.join(root, ".mdai"), os.getcwd(), *others, *import_folders]
    finders, along_path = sys.meta_path, importlib.machinery.PathFinder
    place = finders.index(along_path) if along_path in finders else len(finders)
    finders.insert(place, _TopLevelFinder(import_folders, hidden))


class _TopLevelFinder(importlib.abc.MetaPathFinder):
    """Goes along `sys.path` before Python does, past our own packages, and leaves the package's other folders to it.

    Python prefers a module anywhere on `sys.path` to a folder without `__init__.py` that lies before it. So
    `model/model.py` would take the name `model` from the folder, once that is on `sys.path` too, and
    `from model.network import Network` would fail, which works on the reference server.
    """

    def __init__(self, import_folders, hidden):
        self._import_folders = import_folders
        self._hidden = hidden

    def find_spec(self, name, path=None, target=None):
        if path is not None:
            return None
        find = importlib.machinery.PathFinder.find_spec
        is_ours = bool(self._hidden) and name in OUR_NAMES
        entries = [entry for entry in sys.path if not (is_ours and self._is_hidden(entry))]
        # By identity: the package may have put one of these folders in front itself.
        before = [entry for entry in entries if not any(entry is folder for folder in self._import_folders)]
        spec = find(name, before, target)
        if spec is None and is_ours:
            spec = find(name, entries, target)
            if spec is None:
                raise ModuleNotFoundError("No module named %r" % name, name=name)
        return spec

    def _is_hidden(self, entry):
        return isinstance(entry, str) and os.path.realpath(entry) in self._hidden
