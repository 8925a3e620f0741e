"""What `--hide-tracebacks` leaves of an error."""

import logging
from collections.abc import Iterator

import pytest

from app.hidden import without_the_models_words
from app.interface.errors import InvalidOutput
from model_loader.errors import (
    DeadlineExceeded,
    ModelLoaderError,
    ModelRaised,
    NotReady,
    OutputUnwritable,
    QueueFull,
    WorkerDied,
)


@pytest.fixture
def no_output() -> Iterator[None]:
    """The model's stream, off."""
    log = logging.getLogger("model")
    log.setLevel(logging.CRITICAL + 1)
    yield
    log.setLevel(logging.NOTSET)


@pytest.mark.parametrize("kind", [ModelRaised, WorkerDied])
def test_the_models_words_are_in_its_stream_instead(
    kind: type[ModelLoaderError], caplog: pytest.LogCaptureFixture
) -> None:
    error = kind("It said Doe.", traceback="Traceback: Doe")
    hidden = without_the_models_words(error, "r1")
    assert type(hidden) is kind
    assert "Doe" not in hidden.report + str(hidden) and "request id r1" in str(hidden)
    assert error.report == "It said Doe.\n\nTraceback: Doe", "the error itself stays as it is"
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("model", error.report)


def test_where_the_stream_is_off_nobody_is_sent_there(no_output: None, caplog: pytest.LogCaptureFixture) -> None:
    hidden = without_the_models_words(ModelRaised("It said Doe."), "r1")
    assert "not kept" in hidden.text and "r1" in hidden.text
    assert caplog.records == []


def test_why_a_start_failed_is_hidden_and_when_to_try_again_is_not(caplog: pytest.LogCaptureFixture) -> None:
    error = NotReady("MDAIModel() raised Doe.", traceback="T", retry_after=5.0, quotes=True)
    hidden = without_the_models_words(error, "r1")
    assert (hidden.report, hidden.retry_after) == (
        "the model cannot be started; the reason is in the service's log.",
        5.0,
    )
    assert caplog.records == [], "it was logged when it failed"


def test_a_place_is_told_without_the_traceback() -> None:
    hidden = without_the_models_words(OutputUnwritable("outputs[0].note holds a set.", traceback="T"), "r1")
    assert hidden.report == "outputs[0].note holds a set."


@pytest.mark.parametrize(
    "error",
    [
        QueueFull("Too many."),
        NotReady("the model is loading."),
        DeadlineExceeded("Too long."),
        InvalidOutput("Wrong."),
        KeyError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_service_itself_says_is_said(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    assert without_the_models_words(error, "r1") is error
    assert caplog.records == []
