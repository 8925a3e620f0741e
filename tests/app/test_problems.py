"""Every error has a status and a sentence."""

import json

import pytest
from starlette.exceptions import HTTPException

from app import refusals
from app.interface import errors as interface_errors
from app.problems import PROBLEMS, place_raised, problem_of, render
from model_loader import errors as loader_errors


def _all_errors() -> list[type[Exception]]:
    modules = (refusals, interface_errors, loader_errors)
    members = [member for module in modules for member in vars(module).values()]
    return [member for member in members if isinstance(member, type) and issubclass(member, Exception)]


@pytest.mark.parametrize(
    ("error", "status", "lead"),
    [
        (interface_errors.MalformedBody("."), 400, "Error reading input data"),
        (loader_errors.RequestUnreadable("."), 400, "Error reading input data"),
        (refusals.UploadStalled("."), 408, "Error reading input data"),
        (refusals.BodyTooLarge("."), 413, "Error reading input data"),
        (interface_errors.RequestTooLarge("."), 413, "Error reading input data"),
        (refusals.UnsupportedMediaType("."), 415, "Error reading input data"),
        (interface_errors.InvalidRequest("."), 422, "Error reading input data"),
        (loader_errors.ModelRaised("."), 500, "Error running model"),
        (loader_errors.WorkerDied("."), 500, "Error running model"),
        (loader_errors.OutputUnwritable("."), 500, "Error writing output data"),
        (interface_errors.InvalidOutput("."), 500, "Invalid data format returned by model"),
        (loader_errors.NotReady("."), 503, "Error initializing model"),
        (loader_errors.QueueFull("."), 503, "Error running model"),
        (loader_errors.NoRoom("."), 503, "Error writing output data"),
        (loader_errors.ServerStopped("."), 503, "Error running model"),
        (refusals.OutOfResources("."), 503, "Error reading input data"),
        (loader_errors.DeadlineExceeded("."), 504, "Error running model"),
        (RuntimeError("."), 500, "Internal error"),
        (HTTPException(404), 404, ""),
    ],
)
def test_the_table(error: Exception, status: int, lead: str) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.lead) == (status, lead)


def test_an_error_without_a_row_of_its_own_takes_its_parents() -> None:
    class NewFailure(loader_errors.DeadlineExceeded):
        pass

    assert problem_of(NewFailure(".")) is PROBLEMS[loader_errors.DeadlineExceeded]


@pytest.mark.parametrize("kind", _all_errors())
def test_every_error_of_the_project_renders_in_both_forms(kind: type[Exception]) -> None:
    status, headers, body = render(kind("What happened."), b"", "r1")
    assert 400 <= status < 600
    assert dict(headers)[b"content-length"] == b"%d" % len(body)
    assert body.decode().endswith(".\n")
    _, _, details = render(kind("What happened."), b"application/json", "r1")
    assert json.loads(details)["status"] == status


def test_text_that_utf8_cannot_carry_is_told_all_the_same() -> None:
    """A model may raise with a lone surrogate in its message."""
    _, _, body = render(loader_errors.ModelRaised("\udcff"), b"", "r1")
    assert body == b"Error running model: \\udcff\n"


def test_retry_after_is_a_whole_number_of_seconds_and_never_0() -> None:
    for seconds, header in ((0.01, b"1"), (2.0, b"2"), (2.1, b"3")):
        _, headers, _ = render(loader_errors.NotReady(".", retry_after=seconds), b"", "r1")
        assert dict(headers)[b"retry-after"] == header


@pytest.mark.parametrize(
    ("traceback", "place"),
    [
        ("", ""),
        ("no frames here", ""),
        ('  File "/a/b.py", line 7, in f\n    x()\nValueError: Jane Doe', "ValueError at b.py:7"),
        (
            '  File "/a.py", line 1, in f\n    x\n  File "/b.py", line 2, in g\nmy.Error\n',
            "my.Error at b.py:2",
        ),
        ('  File "<string>", line 2, in g\n', "exception at <string>:2"),
        (
            'Traceback (most recent call last):\n  File "/a.py", line 1, in f\n    x\nmy.Error: Jane\n'
            '  File "/Doe.py", line 2, in g\nDoe: of the exception\'s text\n',
            "my.Error at a.py:1",
        ),
        (
            '  File "/a.py", line 1, in f\n  File "Jane Doe", line 2, in g\nKeyError: 1\n\n'
            'During handling of the above exception, another exception occurred:\n\n  File "/b.py", line 2, in g\nE\n',
            "KeyError at a.py:1",
        ),
        ('  File "/a.py", line 1, in f\nJane Doe\n', "exception at a.py:1"),
    ],
)
def test_the_log_learns_where_a_model_raised_and_not_what_it_said(traceback: str, place: str) -> None:
    assert place_raised(traceback) == place
