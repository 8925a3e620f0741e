"""A run of `make chaos` that sees something wrong says so: its own eyes are tested here, the service by the run."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import msgpack
import pytest

from chaos.clients import Asked, Client, Seen
from chaos.faults import BY_NAME, FAULTS, FROM_OUTSIDE, is_honest
from chaos.leftovers import traced
from chaos.report import write_into
from chaos.service import PACKAGE, Service
from chaos.storm import Plan, Run, _judge

NONCE, OTHER = "a" * 24, "b" * 24


def asked(fault: str = "", *, echo: bool = False) -> Asked:
    return Asked(NONCE, fault, (b"one", b"two"), echo=echo, json=False, details=True, flood=0)


def client() -> Client:
    return Client(0, 1, Seen(), 1, None, misbehaves=True)  # type: ignore[arg-type] (it does not run)


def outcome(what: Asked, status: int, content: bytes, **headers: str) -> str:
    own = {"x-request-id": NONCE, "content-type": "application/msgpack"}
    return client()._outcome(
        what, status, own | {name.replace("_", "-"): value for name, value in headers.items()}, content
    )


def answer(note: str, **more: object) -> bytes:
    return msgpack.packb([{"type": "NONE", "study_uid": "1.2", "note": note, **more}])


def test_only_the_answer_that_was_due_is_right() -> None:
    due = asked()
    assert outcome(due, 200, answer(due.note)) == "right"
    files = [{"name": NONCE, "content": content, "content_type": "text/plain"} for content in (b"one", b"two")]
    assert outcome(asked(echo=True), 200, answer(due.note, explanations=files)) == "right"
    for content in (
        answer(due.note.replace(NONCE, OTHER)),
        answer(NONCE),
        answer(due.note)[:-1],
        answer(due.note) + b"\0",
    ):
        assert outcome(due, 200, content).startswith("wrong:")
    assert outcome(asked(echo=True), 200, answer(due.note, explanations=files[::-1])).startswith("wrong:")


def test_the_answer_of_another_request_is_noticed() -> None:
    due = asked()
    assert outcome(due, 200, answer(due.note), x_request_id=OTHER).startswith("wrong:")
    assert outcome(asked("raises"), 500, f"Error running model: {OTHER}".encode()).startswith("wrong:")
    assert outcome(asked("raises"), 500, f"Error running model: {NONCE}".encode()) == "model-raised"


def test_errors_that_lack_what_clients_need_are_noticed() -> None:
    assert outcome(asked(), 503, b"Error initializing model: loading").startswith("wrong:")
    assert outcome(asked(), 503, b"Error initializing model: loading", retry_after="1") == "not-ready"
    problem = json.dumps({"type": "urn:mdai-model:internal-error", "status": 500}).encode()
    kind = outcome(asked(), 500, problem, content_type="application/problem+json")
    assert kind == "internal-error" and not is_honest("", kind)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_excuses_only_what_it_does(fault: object) -> None:
    name = getattr(fault, "name", "")
    assert f"def {name}(" in (PACKAGE / ".mdai/mdai_deploy.py").read_text()
    assert BY_NAME[name].honest - {"right"} - FROM_OUTSIDE <= {"model-raised", "invalid-output"}
    assert not is_honest(name, "internal-error") and not is_honest(name, "wrong: no answer")


def test_a_run_that_saw_something_wrong_fails() -> None:
    run = Run(Plan(1, 1.0, 1.0, 1, judges_time=True))
    run.health = [0.001] * 90 + [0.2] * 10
    run.seen.note("", "wrong: nothing came", honest=False)
    run.recovered = {"never": [90.0]}
    _judge(run)
    assert len(run.broken) == 3, run.broken


def test_signals_go_to_children_of_the_service_and_to_nobody_else() -> None:
    service = SimpleNamespace(pid=os.getpid())
    assert not Service.send_signal(service, os.getpid(), 0)  # type: ignore[arg-type]
    assert not Service.send_signal(service, 1, 0)  # type: ignore[arg-type]


def test_nothing_is_traced_to_a_run_that_never_was() -> None:
    assert traced("0123456789abcdef") == {}


def test_tables_replace_only_what_stands_between_the_marks(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    text = (PACKAGE.parents[1] / "docs/reliability.md").read_text()
    document.write_text(text)
    write_into(document, "tables\n")
    head, _, tail = document.read_text().partition("\n\ntables\n\n")
    assert text.startswith(head) and text.endswith(tail) and tail
