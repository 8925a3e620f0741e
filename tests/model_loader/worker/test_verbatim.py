"""Many small outputs at once: what is written for them is what is written for each alone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_loader.worker.mdai_guest import verbatim
from model_loader.worker.mdai_guest.arrays import array_header
from model_loader.worker.mdai_guest.unwritable import Unwritable
from tests.model_loader.worker.writing import written


class Text(str):
    pass


class Output(dict[Any, Any]):
    pass


BOX = {"type": "ANNOTATION", "study_uid": "1.2", "class_index": 0, "probability": 0.5, "data": {"x": 1, "y": 2.5}}
#: Each is translated, summarised or shown otherwise than as it is, or only just not.
STRANGERS: tuple[Any, ...] = (
    {}, Output(BOX), None, 7, [BOX], (), BOX | {"class_index": 1.0}, BOX | {"class_index": True},
    BOX | {"probability": 1}, BOX | {"probability": False}, BOX | {"data": {}}, BOX | {"data": {"x": np.int64(1)}},
    BOX | {"data": {1: 2}}, BOX | {"data": {"x": {"y": 1}}}, BOX | {"data": {"mask": [[0, 1]]}},
    BOX | {"data": Output(x=1)},
    BOX | {"note": "x" * 4096}, BOX | {"note": "x" * 5000}, BOX | {"note": b"x"}, BOX | {"note": Text("x")},
    BOX | {3: "x"}, BOX | {Text("note"): "x"}, {"note": float("nan")}, {f"k{n}": n for n in range(1001)},
    BOX | {"data": {f"k{n}": n for n in range(1001)}}, {"probability": 0.5}, BOX | {"frame_number": None},
)  # fmt: skip
#: Outputs that no response can carry.
UNWRITABLE: tuple[Any, ...] = ({"note": "\ud800"}, {"frame_number": 2**64}, {"data": {"x": {1, 2}}})

boxes = st.integers(0, 3 * verbatim.TOGETHER).map(lambda count: [BOX] * count)
lists = st.builds(
    lambda before, strangers, after: before + strangers + after,
    boxes,
    st.lists(st.sampled_from(STRANGERS), max_size=3),
    boxes,
)


@settings(deadline=None)
@given(lists, st.sampled_from([list, tuple, iter]))
def test_many_outputs_are_written_as_each_alone(outputs: list[Any], kind: Any) -> None:
    alone = [written([output]) for output in outputs]
    header = array_header(len(outputs))
    together = written(kind(outputs))
    assert together.response == header + b"".join(one.response[1:] for one in alone)
    assert header + b"".join(one.skeleton[1:] for one in alone) in together.skeleton


@given(st.lists(st.sampled_from((BOX, *STRANGERS)), min_size=1, max_size=4))
def test_those_that_pass_together_pass_alone(outputs: list[Any]) -> None:
    assert not verbatim.are_verbatim(outputs) or all(map(verbatim.is_verbatim, outputs))


def test_small_outputs_do_pass_together() -> None:
    assert verbatim.are_verbatim([BOX, {"type": "NONE", "study_uid": "1"}])


@pytest.mark.parametrize("stranger", UNWRITABLE)
@pytest.mark.parametrize("place", [0, 14, 15, 20])
def test_one_that_cannot_be_written_is_named_by_its_place(stranger: Any, place: int) -> None:
    outputs = [BOX] * 33
    outputs[place] = stranger
    with pytest.raises(Unwritable, match=rf"outputs\[{place}\]\.(note|frame_number|data\.x) "):
        written(outputs)
