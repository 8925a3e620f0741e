"""Descriptors 0, 1 and 2: taken over before anything of the package's runs, mended after each call of it.

Models print from Python and from C, close or redirect the standard streams, and run programs that do the same. None
of that reaches the channel, which lives on a high descriptor, and after each call 0 is empty input and 1 and 2
are the pipes again that the server reads.
"""

import ctypes
import faulthandler
import fcntl
import io
import os
import sys

#: Low descriptors are the ones that careless code closes or hopes to get from open().
_HIGH = 64
#: The streams' names in `sys` and their modes, in the order of their descriptors.
_NAMES = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def to_high(descriptor):
    """Move `descriptor` out of the way; returns its new number, which programs that are started don't inherit."""
    try:
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    except OSError:  # the package lowered the limit on descriptors, or used it up
        return descriptor
    os.close(descriptor)
    return moved


class Streams:
    """The worker's standard streams as the server set them up."""

    def __init__(self):
        self._originals = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _HIGH) for number in (0, 1, 2)]
        self._libc = ctypes.CDLL(None)
        self._c_streams = [_c_stream(self._libc, name) for name in ("stdout", "stderr")]
        # In glibc and musl. It only looks: no other thread need have its turn meanwhile.
        self._buffered_in = getattr(ctypes.PyDLL(None), "__fpending", None)
        sys.stdin = sys.__stdin__ = _text(0, "r")
        sys.stdout = sys.__stdout__ = _text(1, "w")
        sys.stderr = sys.__stderr__ = _text(2, "w")
        faulthandler.enable(file=self._originals[2])

    def flush(self):
        """Write out what is buffered, in C too."""
        for name in ("stdout", "stderr"):
            try:
                getattr(sys, name).flush()
            except BaseException:  # gone, closed, or an object of the package's that raises anything
                continue
        for stream in self._c_streams:
            if self._buffered_in is None or self._buffered_in(stream):
                self._flush_c(stream)

    def mend(self):
        """Put the three streams back where they were: to do it takes a third of the time that asking for it takes.

        What is buffered is to be flushed before.
        """
        for number, (name, mode) in enumerate(_NAMES):
            os.dup2(self._originals[number], number, inheritable=True)
            if not _is_open(getattr(sys, name, None)):
                setattr(sys, name, _text(number, mode))

    def _flush_c(self, stream):
        """Flush one of C's streams. Not all with fflush(NULL): that waits for any that a thread reads."""
        if self._libc.ftrylockfile(stream) == 0:
            self._libc.fflush(stream)
            self._libc.funlockfile(stream)

    def tell(self, text):
        """Write a line of the worker's own to the server's copy of the model's stderr."""
        line = (text + "\n").encode("utf-8", "backslashreplace")
        for descriptor in (self._originals[2], 2):
            try:
                os.write(descriptor, line)
                return
            except OSError:  # the package closed that one
                continue


def identity(descriptor):
    """What tells the file behind an open descriptor from others; None for a descriptor that is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_open(stream):
    """Whether something can be written to `stream`, or read from it, as far as it says itself."""
    try:
        return stream is not None and not getattr(stream, "closed", False)
    except Exception:  # detached from its buffer, or an object of the package's that raises anything
        return False


def _c_stream(libc, name):
    """C's `FILE *` of that name, which macOS calls `__stdoutp`."""
    symbol = "__%sp" % name if sys.platform == "darwin" else name
    return ctypes.c_void_p.in_dll(libc, symbol)


def _text(descriptor, mode):
    return io.open(descriptor, mode, buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
