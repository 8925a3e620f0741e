"""Whatever bytes come out of a worker's socket, in whatever pieces: replies, and one verdict at the end; never more.

A package can find that socket and write to it.
"""

import asyncio
import itertools
import os
import socket
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model_loader.channel import Channel, Done, Reply
from model_loader.prediction import Prediction
from model_loader.process import Answer
from model_loader.shared_buffer import SharedBuffer
from model_loader.worker.mdai_guest import wire
from tests.scripted_workers import reply

integers = st.integers(-(2**63), 2**64 - 1)
scalars = st.none() | st.booleans() | integers | st.floats() | st.text(max_size=9) | st.binary(max_size=9)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3))
seconds = st.dictionaries(st.sampled_from(["decode", "predict", "encode"]), st.floats())
failures = st.fixed_dictionaries({"kind": st.text(max_size=9), "text": st.text(max_size=9), "traceback": st.text()})
lengths = st.integers(0, 1 << 62)
good_replies = st.one_of(
    st.builds(lambda python: reply(ready={"python": python}), st.text(max_size=9)),
    st.builds(lambda failure: reply(error=failure), failures),
    st.builds(lambda failure: reply(failed=failure), failures),
    st.builds(
        lambda size, skeleton, timings: reply(done={"size": size, "skeleton": skeleton, "timings": timings}),
        lengths,
        lengths,
        seconds,
    ),
)
any_map = st.dictionaries(st.sampled_from(["done", "error", "ready", "failed", "size"]) | scalars, values, max_size=3)
frames = st.one_of(
    good_replies,
    good_replies,
    (any_map | values).map(lambda value: wire.frame(msgpack.packb(value))),
    st.binary(max_size=60).map(wire.frame),
    st.binary(max_size=12),
    st.sampled_from([b"\xff\xff\xff\xff", b"\0\x10\0\0", b"\0\x10\0\1", bytes(4), wire.frame(b"\x91" * 3000)]),
)


def understood(data: bytes) -> tuple[list[Reply], bool]:
    """The replies in front of the first nonsense, and whether there is some: read in another way, all at once."""
    found = []
    while len(data) >= 4:
        end = 4 + int.from_bytes(data[:4], "big")
        if end > 4 + wire.MAX_FRAME:
            return found, True
        if end > len(data):
            break
        try:
            found.append(msgspec.msgpack.decode(data[4:end], type=Reply))
        except (ValueError, RecursionError):
            return found, True
        data = data[end:]
    return found, False


async def heard_of(pieces: list[bytes]) -> list[Any]:
    heard: list[Any] = []
    channel = Channel(heard.append, heard.append)
    with socket.socket(fileno=os.dup(channel.worker_end)) as worker:
        channel.started()
        for piece in pieces:
            if True in heard:
                break
            worker.sendall(piece)
            channel.read()
    channel.read()
    channel.read()
    channel.close()
    return heard


@settings(max_examples=100, deadline=None, derandomize=True)
@given(sent=st.lists(frames, max_size=5).map(b"".join), cuts=st.lists(st.integers(0, 300), max_size=6))
@example(sent=reply(ready={"python": "3"}) + b"\xff" * 64, cuts=[])
@example(sent=reply(done={"size": 2**64 - 1, "skeleton": 2**64 - 1, "timings": {}}), cuts=[])
@example(sent=reply(done={"size": 1, "skeleton": 1, "timings": {"a\r\nSet-Cookie: b": 1.0}}), cuts=[])
def test_any_bytes_are_replies_up_to_the_first_nonsense_and_end_the_channel_once(sent: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(sent), *[cut for cut in cuts if cut < len(sent)]})
    *replies, end = asyncio.run(heard_of([sent[start:stop] for start, stop in itertools.pairwise(places)]))
    good, is_spoiled = understood(sent)
    assert replies == good[: len(replies)] or "nan" in repr(good)
    assert end is is_spoiled
    assert is_spoiled or len(replies) == len(good)
    for one in replies:
        if one.done:
            assert_harmless(one.done)


def assert_harmless(done: Done) -> None:
    """What a worker claims can be looked for, whether it is there or not."""
    body = SharedBuffer()
    body.write(b"ten bytes.")
    with Prediction(Answer(done, body), 0.0) as prediction:
        assert len(prediction.skeleton) <= 10
        assert len(prediction.body.read(0, prediction.size)) <= 10


@pytest.mark.parametrize("size", [2**62 + 1, 2**63, 2**64 - 1])
def test_a_length_that_no_file_can_have_is_no_reply(size: int) -> None:
    for said in ({"size": size, "skeleton": 0}, {"size": 0, "skeleton": size}):
        assert asyncio.run(heard_of([reply(done=said | {"timings": {}})])) == [True]


@pytest.mark.parametrize("phase", ["a\r\nSet-Cookie: b", "ü", "", "queue"])
def test_timings_name_the_phases_of_a_worker_and_nothing_else(phase: str) -> None:
    """They stand in a header of the answer."""
    assert asyncio.run(heard_of([reply(done={"size": 0, "skeleton": 0, "timings": {phase: 1.0}})])) == [True]
