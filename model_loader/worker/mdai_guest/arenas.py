"""Memory of small objects, kept warm from one request to the next.

A mask of floats is a hundred thousands of objects, which CPython keeps in arenas that it takes from the kernel one by
one and gives back when nothing lies in them: each request has the kernel find and zero all those pages once more,
which takes as long as to make the objects. An arena in which something lives stays. So of the numbers that a model
returned one in each arena is kept, and all are let go when no request comes for a while. Numbers alone are: nobody can
tell whether they live.
"""

import sys

#: Bytes of an arena: https://docs.python.org/3/c-api/memory.html#the-pymalloc-allocator
_ARENA = 1 << (20 if sys.version_info >= (3, 10) else 18)
#: Of numbers that were made one after the other, one of so many lies in each arena.
_APART = 4096
#: Each object that is kept keeps one arena at most: 256 MiB in all, as of the C library's heap.
MOST = (256 << 20) // _ARENA

_kept = {}


def keep(numbers, most=MOST):
    """Keep the arenas in which these lie, a list of exact ints, floats or bools, until `let_go`."""
    for number in numbers[::_APART]:
        place = id(number) // _ARENA
        if len(_kept) < most or place in _kept:
            _kept[place] = number


def let_go():
    """Keep nothing any more."""
    _kept.clear()


def kept():
    """How many objects are kept."""
    return len(_kept)
