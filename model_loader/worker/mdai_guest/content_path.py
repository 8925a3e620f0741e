"""The path under which a file was loaded ahead of its request: how the server and the worker read it alike.

A path is relative to a folder that the server chooses. As on the reference server, slashes in front do not count, and
`..` may not lead out of the folder.
"""

import posixpath

#: Bytes of one name in a path, as file systems have it, and of a path, so that one below a folder is still accepted.
LONGEST_NAME, LONGEST_PATH = 255, 1024


def normal_path(path):
    """`path` without slashes in front and detours. Raises ValueError, whose text ends a sentence about the path."""
    if "\0" in path:
        raise ValueError("has a NUL byte in it, which no path may have")
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("is not valid text") from None
    if len(encoded) > LONGEST_PATH:
        raise ValueError("is longer than %d bytes" % LONGEST_PATH)
    normal = posixpath.normpath(path.lstrip("/"))
    if normal == "." or normal == ".." or normal.startswith("../"):
        raise ValueError("does not name a file inside the folder of loaded files")
    if any(len(name.encode("utf-8")) > LONGEST_NAME for name in normal.split("/")):
        raise ValueError("has a name of more than %d bytes in it" % LONGEST_NAME)
    return normal
