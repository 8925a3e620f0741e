"""The package's own kinds of values as plain Python ones: numpy, torch, pydicom, tuples, generators.

numpy and torch are never imported here: a value of theirs can only exist when the package has imported them.
"""

import datetime
import decimal
import fractions
import reprlib
import sys
from collections import abc

#: What msgpack writes as it is, subclasses included.
NATIVE = (str, bytes, bytearray, memoryview, int, float, bool, type(None))

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 100


def type_name(value):
    """The type as a person would write it: `list`, `numpy.float64`, `pydicom.uid.UID`."""
    kind = type(value)
    module = getattr(kind, "__module__", "builtins")
    return kind.__qualname__ if module == "builtins" else "%s.%s" % (module, kind.__qualname__)


def described(value):
    """The type with its article and the value, for a sentence: `a str ('x')`."""
    name = type_name(value)
    return "%s %s (%s)" % ("an" if name[0] in "aeiou" else "a", name, brief_repr(value))


def brief_repr(value):
    """A repr of at most about 120 characters, whatever the value does."""
    try:
        return _brief.repr(value)[:120]
    except Exception:  # an object of the package's with a broken __repr__
        return "<%s>" % type(value).__name__


def is_array(value):
    """A numpy array or torch tensor (or another framework's that converts itself to one)."""
    return _is_ndarray(value) or (callable(getattr(value, "__array__", None)) and hasattr(value, "shape"))


def as_ndarray(value):
    """The array that `value` is or turns into: tensors leave their device and their graph, bfloat16 becomes float32."""
    if _is_ndarray(value):
        return value
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    return sys.modules["numpy"].asarray(value)


def is_scalar(value):
    """A number-like object of numpy's that carries exactly one value."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def boolean_types():
    """The types of truth values: Python's, and numpy's where the package uses numpy."""
    numpy = sys.modules.get("numpy")
    return (bool,) if numpy is None else (bool, numpy.bool_)


def is_number_type(kind):
    """Whether values of the type `kind` are real numbers, bool included."""
    if issubclass(kind, (int, float, decimal.Decimal, fractions.Fraction)):
        return True
    numpy = sys.modules.get("numpy")
    if numpy is None or not issubclass(kind, numpy.generic):
        return False
    return issubclass(kind, (numpy.integer, numpy.floating, numpy.bool_))


def simplify(value):
    """`value` as something that msgpack can write, one level deep; this is msgpack's `default` hook.

    Raises TypeError where there is nothing plain that it stands for, OverflowError for an int beyond 64 bits.
    """
    if is_array(value):
        return as_ndarray(value).tolist()
    if is_scalar(value):
        plain = value.item()
        if type(plain) is type(value):  # longdouble is its own item
            plain = float(value)
        return plain
    if isinstance(value, int):
        raise OverflowError("the interface's integers end at 64 bits")
    if isinstance(value, (decimal.Decimal, fractions.Fraction)):
        return float(value)
    if isinstance(value, (datetime.date, datetime.time)):
        raise TypeError("there is no date in the interface")
    if isinstance(value, abc.Mapping):
        return dict(value)
    if is_iterable(value):
        return list(value)
    if type(value).__module__.startswith("pydicom.") and type(value).__name__ == "PersonName":
        return str(value)
    raise TypeError("msgpack cannot carry it")


def is_iterable(value):
    """Something ordered to walk over that is no list yet: a generator, zip, map, range, deque, pydicom MultiValue."""
    if isinstance(value, (*NATIVE, abc.Set, abc.Mapping)) or is_array(value):
        return False
    return isinstance(value, (abc.Iterator, abc.Sequence, abc.MappingView))


def _is_ndarray(value):
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, getattr(numpy, "ndarray", ()))
