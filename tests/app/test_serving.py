"""What stands between the command and the start of the model."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import app.cli, app.serving
print([name for name in ("fastapi", "uvicorn", "starlette", "python_multipart") if name in sys.modules])
"""


def test_the_model_begins_to_load_before_what_speaks_http_is_imported() -> None:
    """That takes half a second, in which a small model is loaded."""
    assert subprocess.check_output([sys.executable, "-W", "ignore", "-c", PROGRAM], text=True) == "[]\n"


SLOW = """
import asyncio, os, socket, sys, threading
from app import serving

class Pool:
    def __init__(self):
        self.stops = 0
    async def start(self):
        print("the model loads", flush=True)
    async def stop(self, grace):
        self.stops += 1
        await asyncio.sleep(0)
        print("stopped", self.stops, flush=True)

go_on = threading.Event()
serving._http_server = lambda *_: go_on.wait()

async def main():
    loop = asyncio.get_running_loop()
    loop.call_soon(os.kill, os.getpid(), int(sys.argv[1]))
    loop.call_soon(os.kill, os.getpid(), int(sys.argv[1]))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        try:
            await serving._serve(None, None, Pool(), None, listener, None, None)
        finally:
            go_on.set()

with serving.ending_on_signals(), asyncio.Runner(loop_factory=serving.uvloop.new_event_loop) as runner:
    runner.run(main())
print("ended")
"""


@pytest.mark.parametrize("number", [2, 15, 1])
def test_a_signal_while_that_is_imported_ends_the_model_and_is_no_error(number: int) -> None:
    ended = subprocess.run([sys.executable, "-c", SLOW, str(number)], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "the model loads\nstopped 1\nended\n"
