"""What `--hide-tracebacks` takes out of answers: the model's own words. The log has them, under the request's id."""

import copy
import logging
from typing import TypeVar

from model_loader.errors import ModelLoaderError, ModelRaised, NotReady, PredictFailed, WorkerDied

model_log = logging.getLogger("model")

_Error = TypeVar("_Error", bound=Exception)


def without_the_models_words(error: _Error, request_id: str = "") -> _Error:
    """`error`, or a copy of it that tells neither the model's traceback nor the text of its exception.

    Where it is about one request, what is taken out is written among what the model prints. Why a model does not load
    is in the log already.
    """
    if not isinstance(error, ModelLoaderError):
        return error
    if isinstance(error, NotReady):
        hides = error.quotes
        text = "the model cannot be started; the reason is in the service's log."
    else:
        hides = isinstance(error, (ModelRaised, WorkerDied))
        what = "the worker's process ended" if isinstance(error, WorkerDied) else "predict(data) raised an exception"
        if model_log.isEnabledFor(logging.ERROR):
            text = f"{what}; the details are in the service's log under request id {request_id}."
        else:
            text = f"{what}; the details are not kept, for --model-output is off. The request id is {request_id}."
    if not hides and not error.traceback:
        return error
    if request_id and isinstance(error, PredictFailed):
        tags = {"stream": "error"}
        model_log.error("%s", error.report, extra={**tags, "fields": tags})
    hidden = copy.copy(error)
    vars(hidden)["traceback"] = ""
    if hides:
        vars(hidden)["text"], hidden.args = text, (text,)
    return hidden
