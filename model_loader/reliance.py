"""Where the modules that a package imports come from: an installed distribution, the interpreter, or nowhere.

The environment's interpreter is asked once, and looks without importing anything.
"""

import ast
import json
import subprocess
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from model_loader.baseline import baseline
from model_loader.environment import ModelEnvironment
from model_loader.errors import EnvironmentBuildError
from model_loader.requirement_line import normalized
from model_loader.requirements_file import Requirements
from model_loader.source_code import Import, SourceCode, SourceFile
from model_loader.worker.mdai_guest.visibility import OUR_NAMES

PROBE_SECONDS = 120.0
# What an environment's interpreter runs, Python 3.7's. Names come in as JSON, and go out with what was found.
_PROBE = r"""
import importlib.machinery, importlib.util, json, os, re, sys

def found(name):
    top = name.split(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except Exception:
        return top in sys.modules
    if spec is None or top == name or spec.origin is not None:
        return spec is not None
    # A folder that several distributions share: looked through without importing it.
    return importlib.machinery.PathFinder.find_spec(name, list(spec.submodule_search_locations or ())) is not None

def read(*parts):
    try:
        with open(os.path.join(*parts), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""

def modules(info):
    names = set(read(info, "top_level.txt").split())
    files = [line.split(",")[0].strip('"') for line in read(info, "RECORD").splitlines()]
    folders = {path.split("/")[0] for path in files if re.match(r"[^/]+/__init__\.", path)}
    for path in files:
        parts = path.split("/")
        if parts[0].endswith((".dist-info", ".data", ".egg-info")) or parts[0] in ("..", "__pycache__"):
            continue
        words = [part.split(".")[0] for part in parts]
        names.add(words[0])
        if len(parts) > 1 and parts[0] not in folders:
            names.add(".".join(words[:2]))
    return names

def holding(name):
    exactly = [each[:3] for each in distributions if name in each[3]]
    return exactly or [each[:3] for each in distributions if name.split(".")[0] in each[3]]

distributions = []
for entry in sys.path:
    for folder in sorted(os.listdir(entry)) if os.path.isdir(entry) else ():
        info = os.path.join(entry, folder)
        if folder.endswith((".dist-info", ".egg-info")) and os.path.isdir(info):
            headers = read(info, "METADATA") or read(info, "PKG-INFO")
            name, version = (re.search("^%s: *(.*)$" % key, headers, re.M) for key in ("Name", "Version"))
            if name and version:
                direct = os.path.exists(os.path.join(info, "direct_url.json"))
                distributions.append((name.group(1).strip(), version.group(1).strip(), direct, modules(info)))

print(json.dumps({name: [found(name), holding(name)] for name in json.load(sys.stdin)}))
"""
#: Stands for the module where an attribute of pydicom's is what needs a distribution.
PIXELS = "pixel_array"
_DECODERS = ("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle")
_OTHER_DECODERS = {"gdcm", "pillow", "pyjpegls", "python-gdcm", *_DECODERS}


@dataclass(frozen=True)
class Distribution:
    """Something installed. `is_direct`: from an address or a path, so a line of its own asked for it."""

    name: str
    version: str
    is_direct: bool = False


@dataclass(frozen=True)
class Answer:
    """Whether the interpreter finds a module, and in which distributions."""

    is_found: bool
    distributions: tuple[Distribution, ...] = ()


@dataclass(frozen=True)
class Reliance:
    """A distribution that a package needs and does not list: `line` of `file` is where it first does, for `module`.

    `is_baseline`: it is there because every environment gets it; otherwise something else that is listed brings it.
    """

    distribution: str
    version: str
    module: str
    file: SourceFile
    line: int
    is_baseline: bool


def wanted_modules(code: SourceCode) -> dict[str, list[tuple[SourceFile, Import]]]:
    """Every module from outside the package that its code imports and cannot do without, with where.

    Names are top-level ones, except of `google`, which several distributions share. Where the package has a folder
    without modules of that name, it may be outside or not.
    """
    wanted: dict[str, list[tuple[SourceFile, Import]]] = {}
    for file in code.reachable:
        for one in file.imports:
            is_own = code.provides(one.top) and not code.is_bare_folder(one.top)
            if one.level or one.guarded or not one.top or is_own:
                continue
            for name in _names(one):
                wanted.setdefault(name, []).append((file, one))
    return wanted


def ask(environment: ModelEnvironment, modules: Collection[str]) -> dict[str, Answer]:
    """Ask the environment's interpreter about modules, by name.

    Raises:
        EnvironmentBuildError: it does not answer.
    """
    asked = [name for name in modules if not (environment.hidden and name.partition(".")[0] in OUR_NAMES)]
    try:
        said = subprocess.run(
            [environment.python, "-I", "-W", "ignore", "-c", _PROBE],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=True,
        ).stdout
        answers = json.loads(said.strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise EnvironmentBuildError(f"{environment.python} cannot be asked what is installed: {error}.") from error
    told = {
        name: Answer(is_found, tuple(Distribution(*each) for each in distributions))
        for name, (is_found, distributions) in answers.items()
    }
    return {name: told.get(name, Answer(False)) for name in modules}


def unlisted(code: SourceCode, requirements: Requirements, environment: ModelEnvironment) -> tuple[Reliance, ...]:
    """Return what the package's code needs of an environment without listing it: the baseline's first, by name.

    Raises:
        EnvironmentBuildError: the environment's interpreter does not answer.
    """
    wanted = wanted_modules(code)
    return unlisted_among(code, requirements, environment, wanted, ask(environment, wanted))


def unlisted_among(
    code: SourceCode,
    requirements: Requirements,
    environment: ModelEnvironment,
    wanted: Mapping[str, list[tuple[SourceFile, Import]]],
    answers: Mapping[str, Answer],
) -> tuple[Reliance, ...]:
    """As `unlisted`, where `wanted_modules` and `ask` have been asked already."""
    beside = {_project(requirement) for requirement in baseline((3, 7))}
    found: dict[str, Reliance] = {}
    for module, places in wanted.items():
        holding = answers[module].distributions
        if any(each.is_direct or normalized(each.name) in requirements.names for each in holding):
            continue
        file, one = places[0]
        for each in holding[:1]:
            name = normalized(each.name)
            found.setdefault(name, Reliance(name, each.version, module, file, one.line, name in beside))
    for decoder in _decoders(code, requirements, environment):
        found.setdefault(decoder.distribution, decoder)
    return tuple(sorted(found.values(), key=lambda one: (not one.is_baseline, one.module == PIXELS, one.distribution)))


def _decoders(code: SourceCode, requirements: Requirements, environment: ModelEnvironment) -> Iterable[Reliance]:
    """pydicom needs them for the pixels of compressed images, and nothing imports them by name."""
    if requirements.names & _OTHER_DECODERS:
        return
    installed = {normalized(name): version for name, version in environment.packages}
    for file in code.reachable:
        for node in ast.walk(file.tree) if file.tree is not None else ():
            if isinstance(node, ast.Attribute) and node.attr == PIXELS:
                for name in _DECODERS:
                    if name in installed:
                        yield Reliance(name, installed[name], PIXELS, file, node.lineno, is_baseline=True)
                return


def _names(one: Import) -> Iterable[str]:
    if one.top != "google":
        return (one.top,)
    parts = one.module.split(".")
    return (".".join(parts[:2]),) if len(parts) > 1 else [f"google.{name}" for name in one.names]


def _project(requirement: str) -> str:
    return normalized(requirement.partition("<")[0])
