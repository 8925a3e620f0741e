"""The package's own kinds of values become plain ones without loss, or are refused in a clear sentence."""

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import io
import pathlib
import sys
import types
import uuid
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import IS, DSdecimal, DSfloat, PersonName

from tests.model_loader.worker.writing import facts_about, in_data, refusal, under, written

Point = collections.namedtuple("Point", "x y")
ROWS = [[0.0, 1.0], [2.0, 3.0]]


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Box:
    x: int = 1


class Tensor:
    """What torch, TensorFlow and others have in common, as awkward as they can be."""

    shape = (2, 2)
    dtype = "torch.float32"
    layout = "torch.strided"
    is_quantized = False

    def __init__(self, attached: bool = True, **traits: Any) -> None:
        self.attached = attached
        self.__dict__.update(traits)

    def _but(self, **traits: Any) -> "Tensor":
        return Tensor(**{**self.__dict__, **traits})

    def detach(self) -> "Tensor":
        return self._but(attached=False)

    def cpu(self) -> "Tensor":
        return self

    def float(self) -> "Tensor":
        return self._but(dtype="torch.float32")

    def dequantize(self) -> "Tensor":
        return self._but(is_quantized=False)

    def to_dense(self) -> "Tensor":
        return self._but(layout="torch.strided")

    def tolist(self) -> Any:
        return ROWS

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self.attached or self.is_quantized or self.layout != "torch.strided" or self.dtype != "torch.float32":
            raise TypeError("take it off its graph, make it dense and a type that numpy has")
        if self.__dict__.get("other_numpy"):
            raise RuntimeError("Numpy is not available")
        return np.array(ROWS, dtype=np.float32)


class Lazy:
    """An array of a framework without tensors."""

    shape = (2, 2)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(ROWS)


CONVERTED: dict[str, tuple[Any, Any]] = {
    "float16": (np.float16(1.5), 1.5),
    "long double": (np.longdouble(1.5), 1.5),
    "numpy bool": (np.bool_(True), True),
    "numpy text": (np.str_("a"), "a"),
    "numpy bytes": (np.bytes_(b"a"), b"a"),
    "no dimensions": (np.array(5, dtype=np.uint8), 5),
    "a long double of no dimensions": (np.array(1.5, dtype="g"), 1.5),
    "a dict in an array of no dimensions": (np.array({"a": 1}, dtype=object), {"a": 1}),
    "None in an array of no dimensions": (np.array(None, dtype=object), None),
    "long doubles": (np.array([[1.5, 2]], dtype="g"), [[1.5, 2.0]]),
    "long doubles in a list": ([np.longdouble(1.5), np.array(2.5, dtype="g")], [1.5, 2.5]),
    "a list of arrays": ([np.zeros(2), np.ones(2)], [[0.0, 0.0], [1.0, 1.0]]),
    "a list of uneven arrays": ([np.zeros(1), np.ones(2)], [[0.0], [1.0, 1.0]]),
    "a list of arrays of several types": ([np.zeros(1), np.ones(1, dtype=int)], [[0.0], [1]]),
    "arrays deep in lists": ([[np.arange(2)], [[np.arange(1)]]], [[[0, 1]], [[[0]]]]),
    "numpy's numbers": ([[np.uint8(1), np.uint8(200)]], [[1, 200]]),
    "numpy's numbers of several types": ([[np.uint8(1), np.float32(0.5)], [3]], [[1, 0.5], [3]]),
    "an array of objects": (np.array([[1, 2.5], ["a", None]], dtype=object), [[1, 2.5], ["a", None]]),
    "an array of dicts": (np.array([{"a": np.int8(1)}], dtype=object), [{"a": 1}]),
    "ragged contours": (np.array([[1, 2], [3]], dtype=object), [[1, 2], [3]]),
    "records": (np.array([(1, 2.5)], dtype=[("x", "i4"), ("y", "f8")]), [[1, 2.5]]),
    "texts": (np.array([["a", "bc"]]), [["a", "bc"]]),
    "nothing masked": (np.ma.array([1, 2], mask=[0, 0]), [1, 2]),
    "masked elements": (np.ma.array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]]), [[1, None], [3, 4]]),
    "the masked value": (np.ma.masked, None),
    "a tensor": (Tensor(), ROWS),
    "a quantised tensor": (Tensor(is_quantized=True), ROWS),
    "a sparse tensor": (Tensor(layout="torch.sparse_csr"), ROWS),
    "a tensor of bfloat16": (Tensor(dtype="torch.bfloat16"), ROWS),
    "a tensor for another numpy": (Tensor(other_numpy=True), ROWS),
    "a list of tensors": ([Tensor(), Tensor()], [ROWS, ROWS]),
    "another framework's array": (Lazy(), ROWS),
    "range": (range(3), [0, 1, 2]),
    "deque": (collections.deque([1, "a"]), [1, "a"]),
    "zip": (zip([1], ["a"], strict=True), [[1, "a"]]),
    "map": (map(int, "12"), [1, 2]),
    "a list of maps": ([map(int, "12"), map(int, "34")], [[1, 2], [3, 4]]),
    "generators in generators": (((np.int64(n) for n in (m, m)) for m in (1, 2)), [[1, 1], [2, 2]]),
    "keys": ({"a": 1}.keys(), ["a"]),
    "values": ({"a": 1}.values(), [1]),
    "items": ({"a": 1}.items(), [["a", 1]]),
    "named tuple": (Point(1, 2), [1, 2]),
    "array.array": (array.array("h", [1, -2]), [1, -2]),
    "bytearray": (bytearray(b"ab"), b"ab"),
    "memoryview": (memoryview(b"ab"), b"ab"),
    "mapping proxy": (types.MappingProxyType({"a": 1}), {"a": 1}),
    "UserDict": (collections.UserDict(a=[np.int8(1)]), {"a": [1]}),
    "UserList": (collections.UserList([{"a": 1}]), [{"a": 1}]),
    "Decimal": (decimal.Decimal("0.5"), 0.5),
    "Fraction": (fractions.Fraction(1, 4), 0.25),
    "numbers of all kinds": ([fractions.Fraction(1, 2), decimal.Decimal(1), 2.5, 10**18], [0.5, 1.0, 2.5, 10**18]),
    "DSfloat": (DSfloat("1.5"), 1.5),
    "DSdecimal": (DSdecimal("1.5"), 1.5),
    "IS": (IS("3"), 3),
    "PersonName": (PersonName("A^B"), "A^B"),
    "MultiValue": (MultiValue(float, ["1", "2"]), [1.0, 2.0]),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_values_become_plain_without_loss(name: str) -> None:
    value, expected = CONVERTED[name]
    assert msgpack.packb(under("note", value)) == msgpack.packb(expected)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_a_matrix_is_an_array() -> None:
    assert under("note", np.matrix(ROWS)) == ROWS
    assert in_data("mask", np.matrix([[True, False]])) == [[1, 0]]


@pytest.mark.parametrize("name", ["a tensor", "deque", "range", "MultiValue", "an array of objects", "keys"])
def test_facts_name_the_type_that_was_returned(name: str) -> None:
    value, expected = CONVERTED[name]
    facts = facts_about(value)
    assert facts.type == f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    assert facts.length == len(expected)


def test_an_array_of_numbers_as_objects_has_the_facts_of_its_numbers() -> None:
    facts = facts_about(np.array([[1, 2], [3, 4.5]], dtype=object))
    assert (facts.types, facts.odd, facts.range, facts.shape) == (["float", "int"], None, [1, 4.5], [2, 2])


class Broken:
    """Raises something of its own in the method `name`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _fail(self, name: str) -> None:
        if name == self._name:
            raise SystemExit(f"no {name}")

    def __repr__(self) -> str:
        if self._name == "__repr__":
            raise ZeroDivisionError
        return "<broken>"

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        self._fail("__array__")
        return np.zeros(3)

    @property
    def shape(self) -> tuple[int, ...]:
        self._fail("shape")
        return (3,)


class BrokenList(list[Any]):
    def __len__(self) -> int:
        raise ValueError("no length")


class BrokenDict(dict[Any, Any]):
    def items(self) -> Any:
        raise ValueError("no items")


def failing(error: BaseException) -> Any:
    yield 1
    raise error


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "set": (lambda: {1}, "a set ({1}): it has no order: give a list, e.g. with sorted(…)"),
    "frozenset": (lambda: frozenset([1]), "a frozenset (frozenset({1})): it has no order"),
    "complex": (lambda: 1j, "a complex (1j): the response cannot carry that"),
    "numpy complex": (lambda: np.complex64(1j), "the response cannot carry complex numbers"),
    "complex array": (lambda: np.array([1j]), "note[0] is a complex (1j)"),
    "date": (lambda: datetime.date(2020, 1, 2), "a datetime.date (datetime.date(2020, 1, 2)): the interface has no"),
    "duration": (lambda: datetime.timedelta(1), "the interface has no dates: give text"),
    "datetime64": (lambda: np.datetime64(1, "ns"), "the interface has no dates: give text"),
    "datetime64 array": (lambda: np.array([1], dtype="M8[ns]"), "the interface has no dates: give text"),
    "masked records": (lambda: np.ma.zeros(2, dtype=[("x", "i4")]), "it is a masked array of records"),
    "UUID": (lambda: uuid.UUID(int=1), "a uuid.UUID (UUID("),
    "path": (lambda: pathlib.Path("x"), "the response cannot carry that"),
    "enum": (lambda: Colour.RED, "Colour (<Colour.RED: 1>): the response cannot carry that"),
    "dataclass": (Box, "Box(x=1)): the response cannot carry that"),
    "class": (lambda: np.ndarray, "a type (<class 'numpy.ndarray'>): the response cannot carry that"),
    "data set": (Dataset, "a pydicom.dataset.Dataset"),
    "file": (lambda: io.BytesIO(b"x"), "a _io.BytesIO (<_io.BytesIO object"),
    "Decimal that is no number": (lambda: decimal.Decimal("sNaN"), "it is no float: cannot convert signaling NaN"),
    "fraction beyond floats": (lambda: fractions.Fraction(10**400), "it is no float: "),
    "broken __array__": (
        lambda: Broken("__array__"),
        "Broken (<broken>): reading it raised SystemExit('no __array__')",
    ),
    "broken shape": (lambda: [0, Broken("shape")], "note[1] is a "),
    "broken length": (lambda: BrokenList([1]), "reading it raised ValueError('no length')"),
    "broken items": (lambda: BrokenDict(a=1), "reading it raised ValueError('no items')"),
    "generator that raises": (lambda: failing(KeyError("x")), "reading it raised KeyError('x')"),
    "generator that exits": (lambda: failing(SystemExit(3)), "reading it raised SystemExit(3)"),
    "generator in a list": (lambda: [[failing(TypeError("odd"))]], "reading it raised TypeError('odd')"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_nothing_plain_stands_for_is_refused_with_its_place(name: str) -> None:
    make, text = REFUSED[name]
    for wrap in (lambda value: value, lambda value: [value], lambda value: {"a": [{"b": value}]}):
        sentence = refusal(wrap(make()))
        assert sentence.startswith("outputs[0].note")
    assert text in refusal(make())


def test_a_broken_repr_breaks_nothing() -> None:
    assert under("note", Broken("__repr__")) == [0.0, 0.0, 0.0]
    assert "Broken" in refusal([{"a": {Broken("__repr__")}}])


def test_an_open_file_is_not_read() -> None:
    assert "it is an open file: give what is in it" in refusal(io.StringIO("a\nb"))


def test_iterators_are_run_once_and_lose_nothing() -> None:
    points = [iter([1, 2]), iter([3, 4])]
    assert in_data("vertices", points) == [[1, 2], [3, 4]]
    [shown] = written([{"data": {"vertices": [iter([1, 2]), iter([3, 4])]}}]).facts
    facts = shown["data"]["vertices"]
    assert (facts.shape, facts.range, facts.odd, facts.first.type) == ([2, 2], [1, 4], None, "list_iterator")


def test_a_tuple_or_another_list_of_outputs_is_a_list_of_outputs() -> None:
    for result in (({"a": 1},), collections.deque([{"a": 1}]), ({"a": 1} for _ in range(1)), {"k": {"a": 1}}.values()):
        assert written(result).outputs == [{"a": 1}]


def test_an_output_may_be_any_mapping() -> None:
    [output] = written([collections.UserDict(data=types.MappingProxyType({}), probability=1)]).outputs
    assert msgpack.packb(output) == msgpack.packb({"data": None, "probability": 1.0})


def test_a_module_that_is_only_called_numpy_disturbs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (types.ModuleType("numpy"), None):
        monkeypatch.setitem(sys.modules, "numpy", module)
        assert under("note", [1.5, (True, None), range(2)]) == [1.5, [True, None], [0, 1]]
        assert under("note", Tensor()) == ROWS
        assert in_data("mask", [[True, False]]) == [[1, 0]]


def test_tensors_of_torch_become_lists() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    grid = torch.arange(6.0).reshape(2, 3)
    rows = grid.tolist()
    for tensor in (grid.clone().requires_grad_(), grid.bfloat16(), grid.half(), grid.to_sparse(), grid.t().t()):
        assert under("note", tensor) == rows
    for kind in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        assert msgpack.packb(under("note", grid.to(kind))) == msgpack.packb(grid.to(kind).tolist())
    assert in_data("mask", grid > 2) == [[0, 0, 0], [1, 1, 1]]
    assert msgpack.packb(under("class_index", torch.tensor(3.0))) == msgpack.packb(3)
    assert msgpack.packb(under("probability", torch.tensor(1))) == msgpack.packb(1.0)
    assert "no data" in refusal(torch.empty(2, device="meta"))
