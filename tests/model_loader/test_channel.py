"""Frames between the server and a worker, over a real socket."""

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import pytest

from model_loader.channel import Channel, Done, Failure, Ready, Reply
from model_loader.worker.mdai_guest import wire
from tests.hosting import until, within
from tests.scripted_workers import reply

Heard = list[Any]


@contextmanager
def connected() -> Iterator[tuple[Channel, socket.socket, Heard]]:
    """A channel, the worker's end of it, and what is heard: replies, and `is_spoiled` when it ends."""
    heard: Heard = []
    channel = Channel(heard.append, heard.append)
    with socket.socket(fileno=os.dup(channel.worker_end)) as worker:
        channel.started()
        try:
            yield channel, worker, heard
        finally:
            channel.close()
            channel.close()


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(within(scenario()))


def test_replies_come_whole_in_whatever_pieces_they_arrive() -> None:
    async def scenario() -> None:
        frames = reply(ready={"python": "3.7.1", "pid": 1, "seconds": 1.5}) + reply(
            error={"kind": wire.ERROR_MODEL, "text": "🫁", "traceback": "x" * 500}
        )
        frames += reply(done={"size": 1 << 40, "skeleton": 0, "timings": {"predict": 1}})
        for step in (1, 7, len(frames)):
            with connected() as (_, worker, heard):
                for start in range(0, len(frames), step):
                    worker.sendall(frames[start : start + step])
                    await asyncio.sleep(0)
                await until(lambda heard=heard: len(heard) == 3, "all have come")
                assert heard == [
                    Reply(ready=Ready("3.7.1")),
                    Reply(error=Failure(wire.ERROR_MODEL, "🫁", "x" * 500)),
                    Reply(done=Done(1 << 40, 0, {"predict": 1.0})),
                ]

    run(scenario)


def test_the_end_is_told_once_and_what_came_before_it_is_heard() -> None:
    async def scenario() -> None:
        with connected() as (channel, worker, heard):
            worker.sendall(reply(ready={"python": "3"}))
            worker.close()
            await until(lambda: len(heard) > 1, "the end is told")
            channel.read()
            assert heard == [Reply(ready=Ready("3")), False]
        with connected() as (_, worker, heard):
            worker.sendall(reply(ready={"python": "3"}) + reply(ready=3))
            await until(lambda: bool(heard), "the end is told")
            assert heard == [True], "nothing is believed that came with nonsense"

    run(scenario)


@pytest.mark.parametrize("size", [10, 900_000])
def test_a_message_arrives_whole_with_its_descriptors_however_large(size: int) -> None:
    async def scenario() -> None:
        with connected() as (channel, worker, heard):
            with open(os.devnull) as first, open(os.devnull) as second:  # noqa: PTH123, ASYNC230
                channel.send({"do": "x" * size}, (first.fileno(), second.fileno()))
            payload, descriptors = await asyncio.to_thread(wire.receive_frame, worker)
            assert msgpack.unpackb(payload) == {"do": "x" * size}
            assert len(descriptors) == 2
            for descriptor in descriptors:
                assert not os.get_inheritable(descriptor), "no program that the package starts has it"
                os.close(descriptor)
            channel.send({"do": "next"})
            assert wire.receive_frame(worker) == (msgpack.packb({"do": "next"}), [])
            assert heard == []

    run(scenario)


def test_a_message_to_a_worker_that_is_gone_raises() -> None:
    async def scenario() -> None:
        with connected() as (channel, worker, _):
            worker.close()
            with pytest.raises(OSError):
                channel.send({"do": "predict"})
        with pytest.raises(OSError):
            channel.send({"do": "predict"})

    run(scenario)


def test_descriptors_that_a_package_sends_us_are_not_kept() -> None:
    async def scenario() -> None:
        with connected() as (_, worker, heard):
            before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
            socket.send_fds(worker, [reply(ready={"python": "3"})], [0, 1, 2])
            await until(lambda: bool(heard), "it has come")
            assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208

    run(scenario)
