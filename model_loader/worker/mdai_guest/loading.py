"""From a folder to an MDAIModel: the import path, the module, the class, the instance."""

import importlib.util
import inspect
import os
import sys
import traceback

from . import groups, hints, visibility, wire

_WORKER_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class LoadingFailed(Exception):
    """The model cannot be built; `kind` is one of the wire's FAILED_ kinds."""

    def __init__(self, kind, text, trace=""):
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.trace = trace

    def as_data(self):
        return {"kind": self.kind, "text": wire.shorten(self.text), "traceback": wire.shorten(self.trace)}


def load_model(root, import_folders, hidden):
    """Build the package's MDAIModel. Raises LoadingFailed with a text that says what to do."""
    visibility.show(root, import_folders, hidden)
    module = _import_deploy_module(os.path.join(root, ".mdai", "mdai_deploy.py"))
    model_class = _find_class(module)
    try:
        model = model_class()
    except BaseException as error:  # the package may raise anything, SystemExit too
        text, trace = explain("MDAIModel()", error)
        raise LoadingFailed(wire.FAILED_INIT, text + hints.about_init(error, model_class, root), trace) from None
    _check_predict(model)
    return model


def _import_deploy_module(path):
    if not os.path.isfile(path):
        raise LoadingFailed(
            wire.FAILED_IMPORT,
            "there is no .mdai/mdai_deploy.py in the package any more: it was at %s" % path,
        )
    spec = importlib.util.spec_from_file_location("mdai_deploy", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["mdai_deploy"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # the package may raise anything, SystemExit too
        text, trace = explain("importing mdai_deploy.py", error)
        raise LoadingFailed(wire.FAILED_IMPORT, text + hints.about_import(error, path), trace) from None
    return sys.modules.get("mdai_deploy", module)


def _find_class(module):
    found = getattr(module, "MDAIModel", None)
    if found is None:
        classes = [name for name, value in vars(module).items() if inspect.isclass(value)]
        here = "it defines the classes %s" % ", ".join(sorted(classes)) if classes else "it defines no class"
        raise LoadingFailed(
            wire.FAILED_CLASS,
            "mdai_deploy.py has no class MDAIModel (%s): name the model's class MDAIModel." % here,
        )
    if not inspect.isclass(found):
        raise LoadingFailed(
            wire.FAILED_CLASS,
            "MDAIModel in mdai_deploy.py is a %s, not a class: write `class MDAIModel:` with the methods"
            " __init__(self) and predict(self, data)." % type(found).__name__,
        )
    return found


def _check_predict(model):
    """Raise LoadingFailed where the built model has no method that can be called with one mapping.

    `predict_batch` is looked at only where there is no `predict`: a helper of that name may have any parameters.
    """
    name = "predict_batch" if not groups.has_method(model, "predict") else "predict"
    predict = getattr(model, name, None)
    if not callable(predict):
        raise LoadingFailed(
            wire.FAILED_CLASS,
            "the class MDAIModel in mdai_deploy.py has no method predict: add `def predict(self, data):` that"
            " returns a list of outputs.",
        )
    if inspect.iscoroutinefunction(predict):
        raise LoadingFailed(
            wire.FAILED_CLASS,
            "MDAIModel.%s is `async def`, and the server calls it plainly: write `def %s(self, data):`,"
            " with asyncio.run(...) inside where it has to wait for something." % (name, name),
        )
    try:
        signature = inspect.signature(predict)
    except (TypeError, ValueError):  # something callable that does not tell
        return
    try:
        signature.bind({})
    except TypeError:
        raise LoadingFailed(
            wire.FAILED_CLASS,
            "MDAIModel.%s takes %s beside self, and the server calls it with one argument, a mapping: write"
            " `def %s(self, data):` and read data['files'], data['args'] and so on inside." % (name, signature, name),
        ) from None


def explain(what, error):
    """(one sentence, the package's traceback) for an exception that the package let out of `what`."""
    if isinstance(error, SystemExit):
        text = "%s called sys.exit(%s)." % (what, "" if error.code is None else repr(error.code))
    else:
        text = "%s raised %s" % (what, describe(error))
        text += "" if text.endswith((".", "!", "?")) else "."
    return text, format_traceback(error)


def describe(error):
    """The exception's type and text in one line."""
    try:
        text = str(error)
    except Exception:  # an exception class of the package's with a broken __str__
        text = ""
    name = type(error).__name__
    first_line = text.strip().split("\n")[0]
    return "%s: %s" % (name, first_line) if first_line else name


def format_traceback(error):
    """The traceback as Python prints it, beginning at the package's own first frame."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith((_WORKER_FOLDER, "<frozen importlib")):
        trace = trace.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except Exception:  # an exception class of the package's with a broken __str__
        return "".join(traceback.format_tb(trace)) + type(error).__name__
