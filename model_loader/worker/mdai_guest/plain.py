"""The package's own kinds of values as plain Python ones: numpy, torch, pydicom, tuples, generators.

numpy and torch are never imported here: a value of theirs can only exist when the package has imported them.
"""

import array as _array
import datetime
import decimal
import fractions
import io
import reprlib
import sys
from collections import abc

#: What msgpack writes as it is, subclasses included.
NATIVE = (str, bytes, bytearray, memoryview, int, float, bool, type(None))
#: What becomes a msgpack array element by element.
LISTS = (list, tuple)
#: Kinds of numpy's dtypes that are numbers with an exact msgpack form: bool, int, unsigned, float.
NUMERIC_KINDS = "biuf"

#: The names of the kinds that nearly everything is of.
_NAMES = {kind: kind.__name__ for kind in (dict, list, str, int, float, bool, bytes, tuple, type(None))}
_SHORT = 100
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = _SHORT


class NoPlainForm(TypeError):
    """There is nothing plain that a value stands for; the text says why."""


def type_name(value):
    """The type as a person would write it: `list`, `numpy.float64`, `pydicom.uid.UID`."""
    return kind_name(type(value))


def kind_name(kind):
    """The name of a type as a person would write it."""
    if type(kind) is type and kind in _NAMES:
        return _NAMES[kind]
    module = getattr(kind, "__module__", "builtins")
    return _encodable(kind.__qualname__ if module == "builtins" else "%s.%s" % (module, kind.__qualname__))[:_SHORT]


def described(value):
    """The type with its article and the value, for a sentence: `a str ('x')`."""
    name = type_name(value)
    return "%s %s (%s)" % ("an" if name[:1] in ("a", "e", "i", "o") else "a", name, brief_repr(value))


def brief_repr(value):
    """A repr of at most about 120 characters, whatever the value does, without going through a long one."""
    try:
        if isinstance(value, (bytes, bytearray, memoryview)) and len(value) > _SHORT:
            value = bytes(value[:_SHORT])
        elif isinstance(value, str) and len(value) > _SHORT:
            value = str.__getitem__(value, slice(_SHORT))
        elif isinstance(value, int) and value.bit_length() > 4 * _SHORT:
            return "an int of %d bits" % value.bit_length()
        return _encodable(_brief.repr(value))[:120]
    except BaseException:  # an object of the package's with a broken __repr__
        return "<%s>" % type_name(value)


def _encodable(text):
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_array(value):
    """A numpy array or torch tensor (or another framework's that converts itself to one)."""
    numpy = numpy_module()
    if numpy is None:
        return False
    return isinstance(value, numpy.ndarray) or (
        not isinstance(value, (type, numpy.generic))
        and callable(getattr(value, "__array__", None))
        and hasattr(value, "shape")
    )


def as_ndarray(value):
    """The array that `value` is or turns into, of numpy's own class: tensors leave their device and their graph.

    Masked elements become None; bfloat16 and other short floats, which numpy does not have, become float32. Raises
    NoPlainForm for dates, and whatever the conversion raises.
    """
    numpy = numpy_module()
    if hasattr(value, "detach"):
        array = _from_tensor(numpy, value)
    elif hasattr(value, "mask") and isinstance(value, numpy.ma.MaskedArray):
        array = _from_masked(numpy, value)
    else:
        array = numpy.asarray(value)
    kind = array.dtype.kind
    if kind in "mM":
        raise NoPlainForm("the interface has no dates: give text")
    if kind == "V" and array.dtype.names is None:
        if "float" in array.dtype.name:
            return array.astype("f4")
        if "int" in array.dtype.name:
            return array.astype("i8")
    return array


def _from_tensor(numpy, tensor):
    tensor = tensor.detach().cpu()
    if getattr(tensor, "is_quantized", False):
        tensor = tensor.dequantize()
    if getattr(tensor, "is_sparse", False) or "sparse" in str(getattr(tensor, "layout", "")):
        tensor = tensor.to_dense()
    if hasattr(tensor, "resolve_neg"):
        tensor = tensor.resolve_neg()
    if "bfloat16" in str(tensor.dtype) or "float8" in str(tensor.dtype):
        tensor = tensor.float()
    try:
        return numpy.asarray(tensor)
    except RuntimeError:  # a torch that was built for another numpy than there is
        return numpy.array(tensor.tolist()).reshape(tuple(tensor.shape))


def _from_masked(numpy, value):
    if value.dtype.names is not None:
        raise NoPlainForm("it is a masked array of records")
    mask = numpy.ma.getmaskarray(value)
    array = numpy.asarray(value.data)
    if mask.any():
        array = array.astype(object)
        array[mask] = None
    return array


def is_scalar(value):
    """A number-like object of numpy's that carries exactly one value."""
    numpy = numpy_module()
    return numpy is not None and isinstance(value, numpy.generic)


def unboxed(value):
    """The Python scalar in a numpy scalar or in an array or tensor of no dimensions; everything else as it is."""
    if is_scalar(value) or isinstance(value, (decimal.Decimal, fractions.Fraction)):
        return simplify(value)
    if is_array(value):
        array = as_ndarray(value)
        return array if array.ndim else simplify(array)
    return value


def boolean_types():
    """The types of truth values: Python's, and numpy's where the package uses numpy."""
    numpy = numpy_module()
    return (bool,) if numpy is None else (bool, numpy.bool_)


def is_number_type(kind):
    """Whether values of the type `kind` are real numbers, bool included."""
    if issubclass(kind, (int, float, decimal.Decimal, fractions.Fraction)):
        return True
    numpy = numpy_module()
    return numpy is not None and issubclass(kind, (numpy.integer, numpy.floating, numpy.bool_))


def simplify(value):
    """`value` as something that msgpack can write, one level deep; this is msgpack's `default` hook.

    Raises NoPlainForm where there is nothing plain that it stands for, OverflowError for an int beyond 64 bits.
    """
    if is_scalar(value):
        return _from_scalar(value)
    if is_array(value):
        array = as_ndarray(value)
        plain = array.tolist()
        return plain if array.ndim or isinstance(plain, NATIVE) else simplify(plain)
    if isinstance(value, int):
        raise OverflowError
    if isinstance(value, (decimal.Decimal, fractions.Fraction)):
        return _as_float(value)
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta)):
        raise NoPlainForm("the interface has no dates: give text")
    if isinstance(value, abc.Mapping):
        return dict(value)
    if is_iterable(value):
        return list(value)
    if isinstance(value, io.IOBase):
        raise NoPlainForm("it is an open file: give what is in it")
    if isinstance(value, abc.Set):
        raise NoPlainForm("it has no order: give a list, e.g. with sorted(…)")
    if type(value).__module__.startswith("pydicom.") and type(value).__name__ == "PersonName":
        return str(value)
    if hasattr(value, "detach") and hasattr(value, "tolist"):  # a tensor where there is no numpy
        return value.detach().cpu().tolist()
    raise NoPlainForm("the response cannot carry that")


def _from_scalar(value):
    if value.dtype.kind in "mM":
        raise NoPlainForm("the interface has no dates: give text")
    plain = value.item()
    if isinstance(plain, complex) or value.dtype.kind == "c":
        raise NoPlainForm("the response cannot carry complex numbers")
    return _as_float(plain) if is_scalar(plain) else plain  # a long double is its own item


def _as_float(number):
    try:
        return float(number)
    except (OverflowError, ValueError) as error:
        raise NoPlainForm("it is no float: %s" % error) from None


def is_iterable(value):
    """Something ordered to walk over that is no list yet: a generator, zip, map, range, deque, pydicom MultiValue."""
    if isinstance(value, (abc.MappingView, _array.array)):
        return True
    if isinstance(value, (*NATIVE, abc.Set, abc.Mapping, io.IOBase)) or is_array(value):
        return False
    return isinstance(value, (abc.Iterator, abc.Sequence))


def numpy_module():
    """numpy, where the package has imported it and it is not something else of that name."""
    numpy = sys.modules.get("numpy")
    return numpy if hasattr(numpy, "ndarray") and hasattr(numpy, "generic") else None
