"""Files in groups, as version 0.4 of the interface sends a batch, and the call of the method that takes them."""

import inspect

from .request import RequestData, is_grouped


class Call:
    """What the model is called with for one request; `name` says what was called last, for texts.

    `files` in groups go to `predict_batch(data)` as they are where the model has one, and else to `predict(data)` group
    by group, each time with the rest of the request. Files without groups go to `predict`; a model that has only
    `predict_batch` gets them as one group.
    """

    def __init__(self, model, data):
        self.model = model
        self.data = data
        self.name = "predict(data)"

    def outputs(self, materialise, ended, is_abandoned):
        """The outputs, `materialise` applied to what each call returned; `ended` is called after each call.

        Group by group, the model is not called any more once the request `is_abandoned`: nobody sees what it answers.
        """
        if is_grouped(self.data["files"]):
            if takes_groups(self.model):
                return self._batch(self.data, materialise, ended)
            return self._by_group(materialise, ended, is_abandoned)
        if has_method(self.model, "predict"):
            outputs = materialise(self.model.predict(self.data))
            ended()
            return outputs
        return self._batch(RequestData(self.data, files=[self.data["files"]]), materialise, ended)

    def _batch(self, data, materialise, ended):
        self.name = "predict_batch(data)"
        outputs = materialise(self.model.predict_batch(data))
        ended()
        return outputs

    def _by_group(self, materialise, ended, is_abandoned):
        """The outputs of all groups, one after the other; what is no list comes back alone, for the judge to refuse."""
        joined = []
        for index, group in enumerate(self.data["files"]):
            self.name = "predict(data) with the files of group %d" % index
            outputs = materialise(self.model.predict(RequestData(self.data, files=group)))
            ended()
            if not isinstance(outputs, (list, tuple)):
                return outputs
            joined += outputs
            if is_abandoned():
                break
        return joined


def has_method(model, name):
    """Whether the model has something callable under this name."""
    return callable(getattr(model, name, None))


def takes_groups(model):
    """Whether `predict_batch` can be called with a request: models have helpers of that name with other parameters."""
    if not has_method(model, "predict_batch"):
        return False
    if not has_method(model, "predict"):
        return True
    try:
        inspect.signature(model.predict_batch).bind({})
    except TypeError:
        return False
    except ValueError:  # something callable that does not tell
        return True
    return True
