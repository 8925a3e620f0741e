"""Asks for /healthz again and again until its input ends; then writes the milliseconds of each as JSON.

python -m benchmarks.probe PORT
"""

import json
import sys
import threading
import time
from contextlib import closing

from benchmarks.client import AnswerError, Connection

_EVERY_SECONDS = 0.005


def main() -> None:
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    times: list[float] = []
    try:
        with closing(Connection(int(sys.argv[1]))) as connection:
            print("begun", flush=True)
            while not ended.is_set():
                times.append(connection.get("/healthz") * 1000)
                time.sleep(_EVERY_SECONDS)
    except (OSError, AnswerError):
        pass  # a server that dies is part of what is measured
    print(json.dumps(times))


if __name__ == "__main__":
    main()
