"""Asks `/healthz` on a fresh connection every 20 ms, in a process of its own, and prints how long each answer took.

    python -m chaos.health PORT

It ends with its standard input. The second figure of each line is how late this process itself was woken: what a
busy machine adds to every figure. Seconds; `nan` where there was no 200.
"""

import socket
import sys
import threading
import time

_PAUSE = 0.02
_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def ask(port: int) -> float:
    began = time.perf_counter()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(_REQUEST)
            answer = b""
            while chunk := sock.recv(4096):
                answer += chunk
    except OSError:
        return float("nan")
    return time.perf_counter() - began if answer.startswith(b"HTTP/1.1 200 ") else float("nan")


def main() -> None:
    port, done = int(sys.argv[1]), threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        done.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    while not done.is_set():
        due = time.perf_counter() + _PAUSE
        done.wait(_PAUSE)
        late = time.perf_counter() - due
        sys.stdout.write(f"{ask(port):.6f} {late:.6f}\n")


if __name__ == "__main__":
    main()
