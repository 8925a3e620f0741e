"""What the elements of a list are, seen by their addresses: all types at once, where asking each takes long.

CPython keeps the elements of a list as addresses, one behind the other, and numpy can look at these as one array. The
small ints, True and False are single objects, whose addresses tell type and value. Of other objects, the type, the
length of a list, and a float's value are read where CPython keeps them. All of them live meanwhile, because the list
holds them, which is a copy that no code but ours has, and nothing is ever written. Whether this interpreter keeps its
objects so is tried out before it is relied on: `addresses_in_use` is None where it does not.
"""

import array
import sys

from . import plain

_SMALL_INTS = range(-5, 257)
#: Stands where there is no small int.
_NO_INT = -(1 << 15)
_WORD = 8
#: Objects that are looked at in one go: what is worked on then stays in the processor's cache.
_SLICE = 1 << 14
#: Between the lowest and the highest small int lie at most so many words.
_LONGEST_TABLE = 1 << 17
#: Where a list says where its elements lie, in words from its address.
_ELEMENTS = list.__basicsize__ // _WORD - 2
#: Where words of an object lie, in words from its address: its type, the length of a list or int, a float's value.
_TYPE = object.__basicsize__ // _WORD - 1
_LENGTH = object.__basicsize__ // _WORD
_VALUE = float.__basicsize__ // _WORD - 1
#: Where an int's lowest digit lies, and the bits of that word which it has.
_DIGIT = int.__basicsize__ // _WORD
_DIGIT_BITS = (1 << 32) - 1

_tried = []


def addresses_in_use():
    """The one Addresses there is; None without a numpy that the package has imported, or on another interpreter."""
    numpy = plain.numpy_module()
    if numpy is None:
        return None
    if not _tried or _tried[0] is not numpy:
        _tried[:] = numpy, _tried_out(numpy)
    return _tried[1]


class Addresses:
    """Looks at lists that nobody else has.

    `readers` are those for elements of one type, at least one: the array of their values, or None.
    """

    def __init__(self, numpy):
        self.numpy = numpy
        self.readers = {int: self._ints, float: self._floats, bool: self._bools}
        places = numpy.array(list(map(id, _SMALL_INTS)), "i8")
        self._lowest = int(places.min())
        words = (places - self._lowest) // _WORD
        self._small_ints = None
        if words.max() < _LONGEST_TABLE:
            self._small_ints = numpy.full(int(words.max()) + 1, _NO_INT, "i2")
            self._small_ints[words] = _SMALL_INTS
        signs = [1000, -1000, 0]  # held while it is looked at
        self._plus, self._minus, self._zero = self._words_of(self.of(signs))(_LENGTH).tolist()

    def of(self, elements):
        """The addresses of the elements of a list; valid as long as the list is held and not changed."""
        return self._words(int(self._words(id(elements), _ELEMENTS + 1)[_ELEMENTS]), len(elements))

    def are_lists(self, elements, length):
        """Whether all elements are exactly lists or tuples of this length."""
        places = self.of(elements)
        for start in range(0, len(places), _SLICE):
            word = self._words_of(places[start : start + _SLICE])
            types = word(_TYPE)
            are_lists = (types == id(list)) | (types == id(tuple))
            if not (are_lists.all() and (word(_LENGTH) == length).all()):
                return False
        return True

    def _ints(self, elements):
        places = self.of(elements)
        if self._small_ints is not None:
            words = (places - self._lowest) >> 3
            if words.view("u8").max() < len(self._small_ints):
                values = self._small_ints.take(words)
                lowest = values.min()
                if lowest >= 0 and values.max() < 256:
                    return values.astype("u1")
                if lowest != _NO_INT:
                    return values
        word = self._words_of(places)
        if not (word(_TYPE) == id(int)).all():
            return None
        lengths, digits = word(_LENGTH), word(_DIGIT)
        pluses = lengths == self._plus
        if pluses.all():
            return (digits & _DIGIT_BITS).astype("i4")
        minuses = lengths == self._minus
        if (pluses | minuses | (lengths == self._zero)).all():
            digits &= _DIGIT_BITS
            digits *= pluses.view("i1") - minuses.view("i1")
            return digits.astype("i4")
        try:
            return self.numpy.frombuffer(array.array("q", elements), "i8")
        except OverflowError:
            return None

    def _floats(self, elements):
        word = self._words_of(self.of(elements))
        return word(_VALUE).view("f8") if (word(_TYPE) == id(float)).all() else None

    def _bools(self, elements):
        places = self.of(elements)
        are_true = places == id(True)
        trues = int(self.numpy.count_nonzero(are_true))
        falses = int(self.numpy.count_nonzero(places == id(False)))
        return are_true if trues + falses == len(elements) else None

    def _words_of(self, places):
        """A function of an offset: of each object, the word that lies there.

        Every object has a type; look behind that only where this says that the object is so long.
        """
        lowest = int(places.min())
        words = places - lowest
        words >>= 3
        count = int(words.max()) + 1

        def word(offset):
            return self._words(lowest + offset * _WORD, count).take(words)

        return word

    def _words(self, address, count):
        return self.numpy.asarray(_Memory(self.numpy.dtype("i8").str, address, count))


class _Memory:
    """What lies at an address, as numpy asks for it: words that nobody may write to."""

    def __init__(self, kind, address, count):
        self.__array_interface__ = {"data": (address, True), "shape": (count,), "typestr": kind, "version": 3}


def _tried_out(numpy):
    """An Addresses that was seen to tell the truth, or None."""
    if sys.implementation.name != "cpython" or array.array("q").itemsize != _WORD:
        return None
    if sys.byteorder != "little" or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    try:
        addresses = Addresses(numpy)
        return addresses if _tells_the_truth(addresses) else None
    except Exception:  # a numpy that lacks something, or is none
        return None


def _tells_the_truth(addresses):
    small, ints = list(_SMALL_INTS), [*_SMALL_INTS, 257, -6, 40961, -65537, (1 << 30) - 1, 1 - (1 << 30)]
    long = [1 << 30, 1 << 40, -(1 << 63), (1 << 63) - 1]
    floats = [0.0, -0.0, 1.5, -1e300, 5e-324, float("inf")]
    bools = [True, False, True]
    things = [*ints, *floats, *bools, [], (), "", None, [1], (1, 2)]
    if addresses.of(things).tolist() != list(map(id, things)):
        return False
    if addresses._words_of(addresses.of(things))(_TYPE).tolist() != list(map(id, map(type, things))):
        return False
    lists = things[-2:]
    if addresses._words_of(addresses.of(lists))(_LENGTH).tolist() != [1, 2]:
        return False
    for kind, values in ((int, small), (int, ints), (int, ints + long), (float, floats), (bool, bools)):
        read = addresses.readers[kind](values)
        if read is None or repr(read.tolist()) != repr(values):
            return False
    return all(read(things) is None for read in addresses.readers.values())
