"""Habits of scripts: catching everything (M010), waiting for a person, showing windows, ending the process (M016)."""

import ast
from collections.abc import Iterator

from app.doctor.code.script import Script
from app.doctor.code.syntax_tree import dotted, is_function, mentions, walk_scope
from app.doctor.finding import Code, Finding, Severity
from app.doctor.subject import Subject

CATCHES_ALL = Code("M010", Severity.WARNING, "catches everything, and goes on")
FOR_A_PERSON = Code("M016", Severity.WARNING, "waits for a person, needs a screen, or ends the process")
CODES = (CATCHES_ALL, FOR_A_PERSON)

_ENDING = frozenset(("sys.exit", "exit", "quit", "os._exit", "os.abort"))
_WAITING = {
    "input": "waits for somebody to type, and nobody does",
    "breakpoint": "stops in the debugger, which nobody sees",
    "pdb.set_trace": "stops in the debugger, which nobody sees",
    "ipdb.set_trace": "stops in the debugger, which nobody sees",
    "code.interact": "waits for somebody to type, and nobody does",
    "cv2.imshow": "opens a window, and there is no screen",
    "cv2.waitKey": "waits for a key, and there is no keyboard",
    "cv2.namedWindow": "opens a window, and there is no screen",
    "matplotlib.pyplot.show": "opens a window, and there is no screen",
}
_INSTEAD = {
    "matplotlib.pyplot.show": "Remove it; a picture for the reader goes into an output's `explanations`, as PNG bytes.",
    "cv2.imshow": "Remove it; a picture for the reader goes into an output's `explanations`, as PNG bytes.",
    "input": "Take what users choose from data['args'], with a default.",
}
_TELLS = ("print_exc", "format_exc", "exception", "exc_info", "print_exception")


def examine(subject: Subject) -> Iterator[Finding]:
    """Looks at everything that runs when the model loads and predicts."""
    for script in subject.own_scripts:
        for node in script.nodes:
            if isinstance(node, ast.ExceptHandler) and _catches_all(node) and not _lets_go(node):
                if not _is_harmless(script, node) and not (_tells(node) and not _what_then(node)[1]):
                    yield _swallows(subject, script, node)
            elif isinstance(node, ast.Call):
                yield from _for_a_person(subject, script, node)


def _catches_all(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    if caught is None:
        return True
    types = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(dotted(one) == "BaseException" for one in types)


def _lets_go(handler: ast.ExceptHandler) -> bool:
    """Whether the handler raises, ends the process, or hands the error on to somebody."""
    for node in walk_scope(handler.body):
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Call):
            hands_on = handler.name is not None and any(mentions(one, handler.name) for one in node.args)
            if dotted(node.func) in _ENDING or (hands_on and dotted(node.func).endswith("set_exception")):
                return True
    return False


def _is_harmless(script: Script, handler: ast.ExceptHandler) -> bool:
    """Whether it chooses something instead of an import or of one value, or hands over to a debugger."""
    tried = script.parents.get(handler)
    if not isinstance(tried, ast.Try):
        return False
    if isinstance(tried.body[0], ast.Import | ast.ImportFrom):
        return True
    match handler.body:
        case [ast.Expr(value=ast.Call(func=called))] if script.full_name(called) in _WAITING:
            return True
        case [ast.Assign(targets=[target])]:
            first = tried.body[0]
            same = isinstance(first, ast.Assign) and ast.unparse(first.targets[0]) == ast.unparse(target)
            return len(tried.body) == 1 and same
    return False


def _tells(handler: ast.ExceptHandler) -> bool:
    """Whether the handler prints or keeps the error."""
    return any(mentions(statement, *_TELLS) for statement in handler.body)


def _swallows(subject: Subject, script: Script, handler: ast.ExceptHandler) -> Finding:
    written = "except:" if handler.type is None else f"except {ast.unparse(handler.type)}:"
    does, is_silent = _what_then(handler)
    reason = f"`{written}` catches everything, SystemExit and KeyboardInterrupt included, and {does}"
    if is_silent and not _tells(handler):
        reason += ": nobody learns of the error, and a request that failed looks like one without findings"
    fix = (
        "Name the errors that are expected, such as `except (InvalidDicomError, AttributeError) as error:`, print "
        "them, and let others through: the server answers with the traceback."
    )
    return Finding(CATCHES_ALL, subject.place(script.file.path, handler.lineno), f"{reason}.", fix)


def _what_then(handler: ast.ExceptHandler) -> tuple[str, bool]:
    """What the handler does at its end, and whether the answer then looks as if nothing had been found."""
    match handler.body[-1]:
        case ast.Return(value=None | ast.Constant(value=None)):
            return "returns None", True
        case ast.Return(value=ast.List(elts=[])):
            return "returns []", True
        case ast.Continue():
            return "goes on with the next one", True
        case ast.Pass():
            return "passes over it", True
    return "goes on", False


def _for_a_person(subject: Subject, script: Script, call: ast.Call) -> Iterator[Finding]:
    name = script.full_name(call.func)
    place = subject.place(script.file.path, call.lineno)
    is_own = "." not in name and any(function.name == name for function in script.functions)
    if name in _WAITING and not is_own:
        fix = _INSTEAD.get(name, "Remove it.")
        yield Finding(FOR_A_PERSON, place, f"`{dotted(call.func)}(…)` {_WAITING[name]}.", fix)
    elif name in _ENDING and not is_own and any(is_function(one) for one in script.above(call)):
        reason = f"`{dotted(call.func)}(…)` ends {_what_ends(name)}"
        fix = "Raise an exception that says what is wrong, such as `raise ValueError(…)`: the client gets its text."
        yield Finding(FOR_A_PERSON, place, reason, fix)


def _what_ends(name: str) -> str:
    if name in ("os._exit", "os.abort"):
        return "the process at once: a worker is lost, and the client is not told why."
    return "the program: this server answers with an error all the same, MD.ai's own may stop for everybody."
