"""Many callers at once: each request carries a nonce, and its answer is compared with what only it can get."""

import base64
import hashlib
import http.client
import json
import os
import random
import socket
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import msgpack

from chaos.faults import CALLERS, FAULTS, RIGHT, is_honest
from chaos.service import MAX_BODY

_LEADS = {
    "Error initializing model": "not-ready",
    "Invalid data format returned by model": "invalid-output",
    "Error reading input data": "request-refused",
}
_PATIENCE = 60
#: Bytes: what can be read within the deadline, and what cannot.
_FLOODS = (2_000_000, 1_000_000_000)
#: Seconds between two requests of one caller, at most.
_PAUSE, _PAUSE_WHEN_REFUSED = 0.02, 0.6


@dataclass
class Seen:
    """What all callers saw: outcomes by fault, what must not be, and how long answers took."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    violations: list[str] = field(default_factory=list)
    requests: int = 0
    #: Each fault is asked for once before chance decides.
    due: list[str] = field(default_factory=lambda: [fault.name for fault in FAULTS])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_due(self) -> str:
        """A fault that was not asked for yet, or ""."""
        with self._lock:
            return self.due.pop() if self.due else ""

    def note(self, fault: str, outcome: str, *, honest: bool, what: str = "") -> None:
        with self._lock:
            self.requests += 1
            self.outcomes[fault][outcome if honest else "dishonest"] += 1
            if not honest:
                self.violations.append(f"{fault or 'nothing asked for'}: {outcome[:500]} {what}".strip())


@dataclass(frozen=True)
class Asked:
    """One request, and what its answer must show."""

    nonce: str
    fault: str
    contents: tuple[bytes, ...]
    echo: bool
    json: bool
    details: bool
    flood: int

    @property
    def note(self) -> str:
        return f"{self.nonce} {hashlib.sha256(b'|'.join(self.contents)).hexdigest()}"

    @property
    def accept(self) -> str:
        kinds = ["application/json" if self.json else "application/msgpack"]
        if self.details:
            kinds.append("application/problem+json")
        return ", ".join(kinds)

    @property
    def args(self) -> dict[str, str]:
        args = {"nonce": self.nonce, "amount": str(self.flood)} | ({"fault": self.fault} if self.fault else {})
        return args | ({"echo": "1"} if self.echo else {})


class Client(threading.Thread):
    """One caller, on a connection that it keeps or on fresh ones, until it is told to stop."""

    def __init__(
        self, number: int, port: int, seen: Seen, seed: int, done: threading.Event, *, misbehaves: bool
    ) -> None:
        super().__init__(name=f"client-{number}")
        self._random = random.Random(seed * 1000 + number)
        self._port = port
        self._seen = seen
        self._done = done
        self._misbehaves = misbehaves
        self._keeps = number % 2 == 0
        self._pause = _PAUSE
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)

    def run(self) -> None:
        while not self._done.is_set():
            if self._misbehaves and self._random.random() * 1000 < sum(weight for weight, _ in CALLERS.values()):
                self._behave_badly()
            else:
                self._ask(self._request())
            self._done.wait(self._random.random() * self._pause)
        self._hang_up()

    def ask_for(self, fault: str) -> str:
        """One small request for `fault`; its outcome."""
        nonce = f"{self._random.getrandbits(96):024x}"
        return self._ask(Asked(nonce, fault, (nonce.encode(),), echo=False, json=False, details=True, flood=0))

    def _request(self) -> Asked:
        nonce = f"{self._random.getrandbits(96):024x}"
        size = self._random.choice([0, 10, 1000, 1000, 1000, 50_000, 300_000])
        if self._random.random() < 0.01:
            size = 8_000_000
        count = self._random.choice([1, 1, 1, 2, 5]) if size < 1_000_000 else 1
        contents = tuple((f"{nonce}/{index} ".encode() * (size // 20 + 1))[:size] for index in range(count))
        names = [fault.name for fault in FAULTS]
        weights = [fault.weight for fault in FAULTS]
        chosen = self._random.choices([*names, ""], [*weights, 1000 - sum(weights)])[0]
        if self._misbehaves and self._seen.due and self._random.random() < 0.2:
            chosen = self._seen.next_due()
        return Asked(
            nonce=nonce,
            fault=chosen if self._misbehaves else "",
            contents=contents,
            echo=self._random.random() < 0.3,
            json=self._random.random() < 0.3,
            details=self._random.random() < 0.7,
            flood=self._random.choice(_FLOODS),
        )

    def _ask(self, asked: Asked) -> str:
        media, body = _multipart(asked) if self._random.random() < 0.3 else _msgpack(asked)
        headers = {"Content-Type": media, "Accept": asked.accept, "X-Request-Id": asked.nonce}
        try:
            status, found, content = self._answer(body, headers)
            outcome = self._outcome(asked, status, found, content)
            self._pause = _PAUSE_WHEN_REFUSED if status == 503 else _PAUSE
        except (OSError, http.client.HTTPException) as error:
            outcome = f"wrong: no answer, {type(error).__name__}: {error}"
            self._hang_up()
        self._seen.note(asked.fault, outcome, honest=is_honest(asked.fault, outcome), what=asked.nonce)
        return outcome

    def _answer(self, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if not self._keeps:
            self._hang_up()
        self._connection.request("POST", self._random.choice(["/predict", "/inference"]), body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.will_close:
            self._hang_up()
        else:
            self._assert_nothing_follows()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content

    def _assert_nothing_follows(self) -> None:
        sock = self._connection.sock
        sock.setblocking(False)
        try:
            more = sock.recv(100)
        except BlockingIOError:
            return
        finally:
            sock.settimeout(_PATIENCE)
        if more:
            raise http.client.HTTPException(f"more than one answer: {more!r}")
        self._hang_up()

    def _hang_up(self) -> None:
        self._connection.close()

    def _outcome(self, asked: Asked, status: int, headers: dict[str, str], content: bytes) -> str:
        if headers.get("x-request-id") != asked.nonce:
            return f"wrong: the answer is that of {headers.get('x-request-id')}"
        if status == 200:
            return _difference(asked, headers, content)
        if status == 503 and "retry-after" not in headers:
            return "wrong: 503 without Retry-After"
        kind = _kind_of_problem(status, headers, content)
        if kind == "model-raised" and asked.fault == "raises" and asked.nonce.encode() not in content:
            return "wrong: the traceback is of another request"
        return kind

    def _behave_badly(self) -> None:
        how = self._random.choices(list(CALLERS), [weight for weight, _ in CALLERS.values()])[0]
        honest = CALLERS[how][1]
        if not honest:
            self._leave(how)
            self._seen.note(how, "left", honest=True)
            return
        nonce = f"{self._random.getrandbits(96):024x}"
        media, body, path = "application/msgpack", b"", "/predict"
        if how == "garbage body":
            body = self._random.randbytes(self._random.randrange(1, 3000))
        elif how == "a body that is no request":
            body = msgpack.packb({"files": [{"content": "text"}]})
        elif how == "cut off in the middle of a msgpack":
            body = _msgpack(self._request())[1][:-3]
        elif how == "wrong media type":
            media = "text/plain"
        elif how == "a body over --max-body":
            body = bytes(MAX_BODY + 1)
        else:
            path = f"/{nonce}"
        self._hang_up()
        try:
            self._connection.request("POST", path, body, {"Content-Type": media, "X-Request-Id": nonce})
            answer = self._connection.getresponse()
            answer.read()
            outcome, is_own = str(answer.status), answer.getheader("x-request-id") == nonce
            self._seen.note(how, outcome, honest=is_own and answer.status in honest, what=nonce)
        except (OSError, http.client.HTTPException) as error:
            self._seen.note(how, f"wrong: no answer, {type(error).__name__}: {error}", honest=False)
        finally:
            self._hang_up()

    def _leave(self, how: str) -> None:
        media, body = _msgpack(self._request())
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
        end = len(body) // 2 if "upload" in how else len(body)
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE) as sock:
                sock.sendall(head.encode() + body[:end])
                self._done.wait(self._random.random() * 0.05)
        except OSError:
            return  # it was refused before its body was read


def _difference(asked: Asked, headers: dict[str, str], content: bytes) -> str:
    """`right`, or in what an answer with status 200 differs from the one that was due."""
    is_json = headers.get("content-type", "").startswith("application/json")
    if is_json != asked.json:
        return f"wrong: {headers.get('content-type')} instead of {asked.accept}"
    try:
        outputs: Any = json.loads(content) if is_json else msgpack.unpackb(content)
    except ValueError as error:
        return f"wrong: an answer that cannot be read: {error}"
    due: dict[str, Any] = {"type": "NONE", "study_uid": "1.2", "note": asked.note}
    if asked.echo:
        contents = [base64.b64encode(one).decode() if is_json else one for one in asked.contents]
        due["explanations"] = [{"name": asked.nonce, "content": one, "content_type": "text/plain"} for one in contents]
    return RIGHT if outputs == [due] else f"wrong: answered {content[:200]!r}"


def _kind_of_problem(status: int, headers: dict[str, str], content: bytes) -> str:
    """The type of a problem by its last word; from plain text by what it says."""
    if headers.get("content-type", "").startswith("application/problem+json"):
        problem = json.loads(content)
        if problem["status"] != status:
            return "wrong: a problem with another status"
        return str(problem["type"]).rpartition(":")[2]
    text = content.decode()
    lead = text.partition(":")[0]
    if lead in _LEADS:
        return _LEADS[lead]
    if lead != "Error running model":
        return f"wrong: {status} {text[:300]}"
    if status == 503:
        return "queue-full" if "requests wait already" in text else "server-stopped"
    if status == 504:
        return "deadline-exceeded"
    return "worker-died" if "the worker's process" in text else "model-raised"


def _msgpack(asked: Asked) -> tuple[str, bytes]:
    files = [{"content": content, "content_type": "application/dicom"} for content in asked.contents]
    return "application/msgpack", msgpack.packb({"files": files, "args": asked.args})


def _multipart(asked: Asked) -> tuple[str, bytes]:
    boundary = os.urandom(16).hex()
    parts = [(f'name="{name}"', value.encode()) for name, value in asked.args.items()]
    parts += [('name="files"; filename="one.dcm"', content) for content in asked.contents]
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {names}\r\n\r\n".encode() + value + b"\r\n"
        for names, value in parts
    )
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()
