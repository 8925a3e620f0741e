"""The C library's heap: kept warm from one request to the next, and given back when none comes for a while.

A request of 50 MB makes 12,000 pages of memory, and to have the kernel find and zero each of them takes longer than
everything else that is done with it. glibc gives large blocks back as soon as they are free; here it keeps some for the
next request. Other C libraries do as they always do.
"""

import ctypes
import os

_VARIABLE = "GLIBC_TUNABLES"
# https://www.gnu.org/software/libc/manual/html_node/Memory-Allocation-Tunables.html: blocks of 32 MiB and more come
# from the kernel, in huge pages where it has them; what is free at the heap's end is kept up to 256 MiB.
_TUNABLES = (
    ("hugetlb", 1),
    ("mmap_threshold", 32 << 20),
    ("trim_threshold", 256 << 20),
    ("top_pad", 16 << 20),
)
#: Milliseconds without a request after which memory that is free goes back.
IDLE_MILLISECONDS = 3000


def warmed(environment):
    """`environment` with what has the heap of a worker kept warm; what it says of that itself counts more."""
    ours = ":".join("glibc.malloc.%s=%d" % tunable for tunable in _TUNABLES)
    theirs = environment.get(_VARIABLE)
    return dict(environment, **{_VARIABLE: ours + ":" + theirs if theirs else ours})


def restore_environment():
    """Take out again what `warmed` put in: the package's own programs are as they would be elsewhere."""
    theirs = os.environ.pop(_VARIABLE, "").split(":")[len(_TUNABLES) :]
    if theirs:
        os.environ[_VARIABLE] = ":".join(theirs)


def give_back():
    """Give memory that is free back to the kernel, wherever it lies between what is in use."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
