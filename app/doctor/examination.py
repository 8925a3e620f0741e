"""Everything that is looked at before anything of the package's runs, in the order in which it is looked at."""

from collections.abc import Callable, Iterator, Mapping

from app.doctor import config, devices, imports, layout, requirements, weights
from app.doctor.code import (
    boxes,
    file_paths,
    gpu_code,
    habits,
    language,
    model_class,
    number_types,
    output_keys,
    request_keys,
    returns,
)
from app.doctor.finding import Code, Finding
from app.doctor.run import predictions
from app.doctor.subject import Subject

_CODE = (language, model_class, request_keys, returns, output_keys, boxes, number_types, gpu_code, file_paths, habits)
_EXAMINATIONS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    layout.examine,
    config.examine,
    requirements.examine,
    *(module.examine for module in _CODE),
    imports.examine,
    weights.examine,
)

#: Every code that there is.
CODES: tuple[Code, ...] = tuple(
    code
    for module in (layout, config, requirements, *_CODE, imports, weights, devices, predictions)
    for code in module.CODES
)
#: With one of these the model cannot be loaded: to build its environment would be a waste of time.
HOPELESS = frozenset({language.SYNTAX_ERROR, *model_class.CODES})


def examine(subject: Subject, environ: Mapping[str, str]) -> list[Finding]:
    """What can be found without running anything of the package's."""
    found = [finding for look in _EXAMINATIONS for finding in look(subject)]
    return [*found, *devices.examine(subject, environ)]
