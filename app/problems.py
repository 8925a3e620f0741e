"""What went wrong, as an HTTP answer: one table from error type to status and leading sentence.

Plain text begins with the sentence that MD.ai's reference server uses; a caller that asks for JSON gets the
same facts as RFC 9457 problem details. The table is searched along the error's MRO, so a new error type needs
a row only where it differs from its parent.
"""

import json
import logging
import math
import re
from dataclasses import dataclass
from http import HTTPStatus

from starlette.exceptions import HTTPException

from app.accept import wanted_by
from app.interface.errors import InvalidOutput, InvalidRequest, MalformedBody, RequestTooLarge
from app.refusals import (
    BadTimeLimit,
    BodyTooLarge,
    LoadedFilesFull,
    OutOfResources,
    Unauthorized,
    UnsupportedMediaType,
    UploadStalled,
)
from model_loader.errors import (
    DeadlineExceeded,
    NoRoom,
    NotReady,
    OutputUnwritable,
    PredictFailed,
    QueueFull,
    RequestUnreadable,
    ServerStopped,
)

INITIALIZING = "Error initializing model"
READING = "Error reading input data"
LOADING = "Error loading files"
RUNNING = "Error running model"
INVALID_OUTPUT = "Invalid data format returned by model"
WRITING = "Error writing output data"
INTERNAL = "Internal error"


@dataclass(frozen=True)
class Problem:
    """The HTTP status of an error type, and the sentence that its text begins with."""

    status: int
    lead: str


PROBLEMS: dict[type[BaseException], Problem] = {
    MalformedBody: Problem(400, READING),
    RequestUnreadable: Problem(400, READING),
    Unauthorized: Problem(401, ""),
    BadTimeLimit: Problem(400, READING),
    UploadStalled: Problem(408, READING),
    BodyTooLarge: Problem(413, READING),
    RequestTooLarge: Problem(413, READING),
    UnsupportedMediaType: Problem(415, READING),
    InvalidRequest: Problem(422, READING),
    PredictFailed: Problem(500, RUNNING),
    OutputUnwritable: Problem(500, WRITING),
    InvalidOutput: Problem(500, INVALID_OUTPUT),
    NotReady: Problem(503, INITIALIZING),
    QueueFull: Problem(503, RUNNING),
    NoRoom: Problem(503, WRITING),
    ServerStopped: Problem(503, RUNNING),
    OutOfResources: Problem(503, READING),
    LoadedFilesFull: Problem(503, LOADING),
    DeadlineExceeded: Problem(504, RUNNING),
    Exception: Problem(500, INTERNAL),
}

_FRAME = re.compile(r'  File "(?:[^"\n]*/)?([^"/\n]+)", line (\d+)')
_FILE_OF_CODE = re.compile(r"[\w.-]{1,80}\.pyx?|<[a-z ]{1,20}>", re.ASCII)
_RAISED = re.compile(r"[A-Za-z_][\w.]{0,80}(?=:|$)", re.ASCII)

Headers = list[tuple[bytes, bytes]]


def problem_of(error: Exception) -> Problem:
    """The nearest row of the table; an HTTPException carries its own status and has no leading sentence."""
    if isinstance(error, HTTPException):
        return Problem(error.status_code, "")
    return next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)


def render(error: Exception, accept: bytes, request_id: str) -> tuple[int, Headers, bytes]:
    """Status, headers and body of the answer to `error`, in the form that the `Accept` header asks for."""
    problem = problem_of(error)
    text, traceback = _explain(error, problem, request_id), getattr(error, "traceback", "")
    if wanted_by(accept).problem_details:
        kind = b"application/problem+json"
        body = _problem_details(error, problem, text, traceback, request_id)
    else:
        kind = b"text/plain; charset=utf-8"
        body = "\n\n".join(part.rstrip() for part in (_with_lead(problem, text), traceback) if part) + "\n"
    content = body.encode("utf-8", "backslashreplace")
    headers = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(content)),
    ]
    return problem.status, headers + _extra_headers(error), content


def _slug(kind: type) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def problem_type(error: Exception) -> str:
    """The last part of the type in problem details: `queue-full`; "" for one of HTTP's own."""
    if isinstance(error, HTTPException):
        return ""
    return "internal-error" if problem_of(error).lead == INTERNAL else _slug(type(error))


def log_problem(log: logging.Logger, error: Exception) -> None:
    """Log in full what is this service's own fault; what model or caller did wrong is in the answer."""
    if problem_of(error).lead == INTERNAL:
        log.error("Internal error", exc_info=error)


def place_raised(traceback: str) -> str:
    """Type and place of a model's exception, without what it said: `KeyError at mdai_deploy.py:42`, or "".

    Of exceptions that led to others it is the first one. What follows an exception's type is its text and may look like
    anything, frames and further exceptions included, so nothing there is read.
    """
    place = ""
    for text in traceback.removeprefix("Traceback (most recent call last):\n").splitlines():
        if not text.startswith(" "):
            raised = _RAISED.match(text)
            return place and f"{raised[0] if raised else 'exception'}{place}"
        if (frame := _FRAME.match(text)) and _FILE_OF_CODE.fullmatch(frame[1]):
            place = f" at {frame[1]}:{frame[2]}"
    return place and f"exception{place}"


def _explain(error: Exception, problem: Problem, request_id: str) -> str:
    if problem.lead == INTERNAL:
        return (
            "The service itself failed, not the model and not the request. "
            f"Its log has the details under request id {request_id}."
        )
    return error.detail if isinstance(error, HTTPException) else str(error)


def _with_lead(problem: Problem, text: str) -> str:
    return f"{problem.lead}: {text}" if problem.lead else text


def _problem_details(error: Exception, problem: Problem, text: str, traceback: str, request_id: str) -> str:
    kind = problem_type(error)
    details = {
        "type": f"urn:mdai-model:{kind}" if kind else "about:blank",
        "title": problem.lead or HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": text,
        "instance": f"urn:mdai-model:request:{request_id}",
        "request_id": request_id,
    }
    if traceback:
        details["traceback"] = traceback
    return json.dumps(details) + "\n"


def _extra_headers(error: Exception) -> Headers:
    if isinstance(error, HTTPException):
        return [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    if isinstance(error, Unauthorized):
        return [(b"www-authenticate", error.challenge.encode())]
    if problem_of(error).status == 503:
        return [(b"retry-after", b"%d" % whole_seconds(getattr(error, "retry_after", 1.0)))]
    return []


def whole_seconds(wait: float) -> int:
    """What Retry-After can say of a wait: never 0."""
    return max(1, math.ceil(wait))
