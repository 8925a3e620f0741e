"""Code that needs a GPU without asking for one (M007), and weights that are loaded to the GPU they came from (M008)."""

import ast
import re
from collections.abc import Iterator

from app.doctor.code.script import Script, guards, is_tried
from app.doctor.code.syntax_tree import (
    falls_through,
    is_function,
    keyword,
    mentioned,
    passes_unknown,
    text_of,
    walk_scope,
)
from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject
from app.interface.wording import visible

HARD_CUDA = Code("M007", Severity.WARNING, "needs a GPU without asking whether there is one")
NO_MAP_LOCATION = Code("M008", Severity.WARNING, "loads weights to the device that they were saved from")
CODES = (HARD_CUDA, NO_MAP_LOCATION)

_CUDA = re.compile(r"cuda(:\d+)?")
#: Whoever asks about one of these knows that there may be no GPU.
_ASKS = re.compile(r"gpu|cuda|device", re.IGNORECASE)
_CHOICE = '`"cuda" if torch.cuda.is_available() else "cpu"`'
_ALWAYS = frozenset(("torch.cuda.set_device", "torch.cuda.synchronize"))
_LOADERS = {"torch.load": 1, "torch.jit.load": 1, "torch.hub.load_state_dict_from_url": 2}


def examine(subject: Subject) -> Iterator[Finding]:
    """Looks at everything that runs when the model loads and predicts."""
    for script in subject.own_scripts:
        for node, written in _hard_cuda(script):
            yield _needs_gpu(subject, script, node, written)
        for call, name in script.calls:
            if name in _LOADERS and _loads_anywhere(call, _LOADERS[name]) and not _asks_first(script, call):
                yield _no_map_location(subject, script, call)


def _hard_cuda(script: Script) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Each line that works with a GPU only, once, and what it says."""
    lines = set()
    for node in script.nodes:
        written = _wants_cuda(script, node)
        if written and isinstance(node, ast.expr | ast.stmt) and node.lineno not in lines:
            if _asks_first(script, node) or is_tried(script, node) or _is_called_after_asking(script, node):
                continue
            lines.add(node.lineno)
            yield node, written


def _wants_cuda(script: Script, node: ast.AST) -> str:
    """The part of the code that asks for a GPU; "" where `node` does not."""
    match node:
        case ast.Call(func=ast.Attribute(attr="cuda") as called) if len(node.args) < 2:
            is_own = any(function.name == "cuda" for function in script.functions)
            return (
                ""
                if is_own or script.full_name(called) == "torch.cuda"
                else f"{visible(ast.unparse(called.value), 40)}.cuda()"
            )
        case ast.Call(func=ast.Attribute(attr="to"), args=[device, *_]) if _is_cuda(device):
            return f".to({ast.unparse(device)})"
        case ast.Call():
            return _wants_cuda_by_name(script, node)
        case ast.Assign(targets=[ast.Name() | ast.Attribute() as target], value=device) if _is_cuda(device):
            name = target.id if isinstance(target, ast.Name) else target.attr
            if "device" in name.lower() and not _is_chosen_elsewhere(script, node, target):
                return ast.unparse(node)
    return ""


def _wants_cuda_by_name(script: Script, call: ast.Call) -> str:
    name = script.full_name(call.func)
    first = call.args[0] if call.args else None
    if name == "torch.device" and first is not None and _is_cuda(first):
        return ast.unparse(call)
    if name in _ALWAYS or re.fullmatch(r"torch\.cuda\.\w+Tensor", name):
        return f"{name}(…)"
    if name == "torch.set_default_tensor_type" and first is not None and "cuda" in ast.unparse(first):
        return visible(ast.unparse(call))
    for argument in ("device", "map_location"):
        device = keyword(call, argument)
        if device is not None and _is_cuda(device):
            return f"{argument}={ast.unparse(device)}"
    return ""


def _is_cuda(node: ast.expr) -> bool:
    return _CUDA.fullmatch(text_of(node) or "") is not None


def _asks(test: ast.AST) -> bool:
    words = [*mentioned(ast.walk(test)), *(text_of(node) or "" for node in ast.walk(test))]
    return any(_ASKS.search(word) for word in words)


def _asks_first(script: Script, node: ast.AST) -> bool:
    """Whether a condition around `node`, or one before it that leaves the function, asks about the GPU."""
    if any(_asks(test) for test in guards(script, node)):
        return True
    scope = script.scope_of(node)
    earlier = (one for one in walk_scope(scope.body) if isinstance(one, ast.If) and _asks(one.test))
    return any(one.lineno < getattr(node, "lineno", 0) and not falls_through(one.body) for one in earlier)


def _is_called_after_asking(script: Script, node: ast.AST) -> bool:
    """Whether each call of the function around `node` stands under such a condition."""
    function = next((one for one in script.above(node) if isinstance(one, ast.FunctionDef)), None)
    if function is None or function.name in ("__init__", "predict", "forward"):
        return False
    calls = [call for call, name in script.calls if name.rpartition(".")[2] == function.name]
    return bool(calls) and all(_asks_first(script, call) for call in calls)


def _is_chosen_elsewhere(script: Script, node: ast.Assign, target: ast.expr) -> bool:
    """Whether the file gives the same name another value as well, such as "cpu"."""
    written = ast.unparse(target)
    return any(
        isinstance(one, ast.Assign) and one is not node and written in map(ast.unparse, one.targets)
        for one in ast.walk(script.tree)
    )


def _needs_gpu(subject: Subject, script: Script, node: ast.expr | ast.stmt, written: str) -> Finding:
    place = subject.place(script.file.path, node.lineno)
    where = "at every start and every request" if subject.package.config.device_type == "cpu" else "without a GPU"
    because = " (config.yaml says `device_type: cpu`, so none is ever visible)" if where.startswith("at") else ""
    reason = (
        f"`{visible(written)}` needs a GPU, and nothing asks first whether there is one: it fails {where}{because}."
    )
    in_method = any(is_function(one) for one in script.above(node))
    name = "self.device" if in_method and script.file is subject.code.deploy else "device"
    fix = f"Choose once, `{name} = torch.device(…)` with {_CHOICE}, and write `.to({name})` in its place."
    return Finding(HARD_CUDA, place, reason, fix)


def _loads_anywhere(call: ast.Call, position: int) -> bool:
    return len(call.args) <= position and keyword(call, "map_location") is None and not passes_unknown(call)


def _no_map_location(subject: Subject, script: Script, call: ast.Call) -> Finding:
    written = ast.unparse(call)
    reason = (
        f"`{visible(written)}` puts every tensor on the device that it was saved from: weights saved on a GPU do not "
        "load where there is none, or where the GPU has another number."
    )
    fixed = f"{written[:-1]}, map_location={_device(script)})"
    return Finding(
        NO_MAP_LOCATION, subject.place(script.file.path, call.lineno), reason, f"Write `{visible(fixed, 150)}`."
    )


def _device(script: Script) -> str:
    """The name that the file has for the device, or the CPU."""
    assigned = {ast.unparse(target) for node in script.nodes if isinstance(node, ast.Assign) for target in node.targets}
    return "self.device" if "self.device" in assigned else '"cpu"'
