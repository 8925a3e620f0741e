"""Which build of torch an environment gets: for the CPU, or for a CUDA version.

An index offers torch's builds under one version; torch's own index has each under a local version, ``2.1.0+cpu`` or
``2.1.0+cu121``, and uv knows where (its "torch backend"). The configured indexes are asked first: what they give is
kept where it suits the device, so that a machine with a mirror speaks to nobody else. Only where it does not, torch's
own index is tried, not for long, and it chooses the build and not the version of a GPU's torch. Nothing here concerns
a package that brings no torch, or that says itself which build it wants.
"""

import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from model_loader.errors import InstallFailed
from model_loader.requirements_file import Requirements, stated_lines
from model_loader.uv_process import Progress, UvFailed

AUTO, NONE, CPU = "auto", "none", "cpu"
VARIABLE = "UV_TORCH_BACKEND"

# What torch was published for. uv knows more names (cu112, cu122, cu123 …), for which there is no torch.
_PUBLISHED = (
    *("cu100", "cu101", "cu102"),
    *("cu110", "cu111", "cu113", "cu115", "cu116", "cu117", "cu118"),
    *("cu121", "cu124", "cu126", "cu128", "cu129"),
)
# One try, and a short one: where hospitals let nothing out, packets are often dropped without a word.
BRIEF = {"UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "0"}

_WOULD_INSTALL = re.compile(r" \+ (?P<name>[\w.-]+)(==(?P<version>\S+)| @ (?P<address>\S+))")
_IN_A_WHEELS_NAME = re.compile(r"/[\w.]+-([^-/]+)-[^/]*\.whl")
_BUILD = re.compile(r"\+\w*?(cpu|cu\d+|rocm|xpu)", re.IGNORECASE)
_PINNED = re.compile(r"[\w.-]+\s*(\[[^]]*\]\s*)?===?\s*(?P<version>[\w.!+]+)")
_BROUGHT_BY_TORCH = re.compile(r"nvidia-(cublas|cudnn)|cuda-toolkit$")
_OF_TORCH = ("torch", "torchvision", "torchaudio")
_NOTHING = "it has nothing that fits better"
UNREACHED = ("Failed to fetch", "Request failed", "error sending request")
_OWN_PLACES = ("--index-url", "--extra-index-url", "--find-links", "--no-index")


@dataclass(frozen=True)
class TorchWish:
    """``builds`` that would do, as uv calls them, the best first; ``demanded`` is one that the operator named."""

    builds: tuple[str, ...]
    demanded: bool = False

    @property
    def is_for_cpu(self) -> bool:
        return self.builds == (CPU,)


def torch_wish(choice: str, *, gpu: bool, cuda_version: str) -> TorchWish | None:
    """Return what the environment should get.

    Parameters:
        choice: ``auto``, ``none`` (whatever the configured indexes give), or a build
        gpu: whether the model is to run on a GPU
        cuda_version: the package's, such as ``12.1``; counts for a GPU
    """
    if choice == NONE:
        return None
    if choice != AUTO:
        return TorchWish((choice,), demanded=True)
    return TorchWish(_builds(cuda_version) if gpu else (CPU,))


def _builds(cuda_version: str) -> tuple[str, ...]:
    """Return the builds for a CUDA version: its own or the last before it, then the later and the earlier ones.

    All are of its major version, within which a driver runs every build. The nearest comes first because later
    builds leave out older GPUs.
    """
    major, minor = cuda_version.split(".")
    related = [build for build in _PUBLISHED if build.startswith(f"cu{major}")]
    before = [build for build in related if build <= f"cu{major}{minor}"]
    after = [build for build in related if build not in before]
    return (*before[-1:], *after, *reversed(before[:-1]))


@dataclass(frozen=True)
class _Resolved:
    """What uv would install: versions, empty where unknown, by project; and whether torch comes by an address."""

    versions: dict[str, str]
    is_direct: bool

    @classmethod
    def read(cls, said: str) -> "_Resolved":
        versions, is_direct = {}, False
        for line in said.splitlines():
            found = _WOULD_INSTALL.match(line)
            if found is not None:
                address = unquote(found["address"] or "")
                wheel = _IN_A_WHEELS_NAME.search(address)
                versions[found["name"]] = found["version"] or (wheel[1] if wheel else "")
                is_direct |= bool(address) and found["name"] == "torch"
        return cls(versions, is_direct)

    @property
    def torch(self) -> str:
        return self.versions.get("torch", "")

    @property
    def shown(self) -> str:
        return f"torch=={self.torch}" if self.torch else "torch"

    @property
    def public(self) -> str:
        return self.torch.partition("+")[0]

    @property
    def build(self) -> str:
        return self.torch.partition("+")[2]

    def pins(self, build: str = "") -> tuple[str, ...]:
        """Requirements that fix the versions of torch and what is built with it, and which build that is."""
        there = [(name, self.versions[name].partition("+")[0]) for name in _OF_TORCH if self.versions.get(name)]
        return tuple(f"{name}=={version}{build}" for name, version in there)

    @property
    def fixed(self) -> tuple[str, ...]:
        """Arguments that fix the versions: torch's own index tells no dates, so uv would take nothing from it."""
        undated = [f"{pin.partition('==')[0]}=false" for pin in self.pins()]
        return (*(word for one in undated for word in ("--exclude-newer-package", one)), *self.pins())

    def cuda(self, requirements: Requirements) -> list[str]:
        """What of CUDA comes although no line asks for it; empty where torch is for the CPU."""
        if self.build == CPU:
            return []
        brought = [name for name in self.versions if _BROUGHT_BY_TORCH.match(name) and name not in requirements.names]
        return [self.shown, *brought] if brought or self.build.startswith("cu") else []

    @property
    def holds_cuda_itself(self) -> bool:
        """Before 1.13 the wheel for Linux holds CUDA without saying so; it is under a gigabyte."""
        release = tuple(int(number) for number in re.findall(r"\d+", self.public)[:2])
        return not self.build and release < (1, 13) and platform.system() == "Linux" and platform.machine() == "x86_64"


@dataclass(frozen=True)
class TorchSource:
    """Where a build is looked for: in torch's own index for it, or (None) in the configured ones.

    ``arguments`` are what `uv pip install` then gets beside the requirements.
    """

    own_index: str | None
    arguments: tuple[str, ...] = ()


def choose_source(
    wish: TorchWish | None,
    requirements: Requirements,
    resolve: Callable[[TorchSource | None], str],
    *,
    package: str,
    is_dated: bool,
    progress: Progress,
) -> TorchSource | None:
    """Return where torch is to come from; None stands for the configured indexes alone.

    Parameters:
        resolve: uv's words about what it would install, from there
        package: its name
        is_dated: whether what was published after some day does not count

    Raises:
        InstallFailed: the requirements cannot be resolved; or CUDA would come into an environment for the CPU, or not
            the build that the operator named.
    """
    configured = _Resolved.read(resolve(None))
    if wish is None or "torch" not in configured.versions or _suits(configured, wish, requirements):
        return None
    if _says_itself(configured, requirements):
        if wish.demanded or (wish.is_for_cpu and configured.build != CPU):
            progress(
                f"{configured.shown} is not one for {_for_people(wish)}, and is installed because "
                ".mdai/requirements.txt says itself which build it wants."
            )
        return None
    reason = ""
    for source in _sources(wish, configured, is_dated):
        try:
            found = _Resolved.read(resolve(source))
        except InstallFailed as error:
            reason = _reason(error)
            if any(sign in str(error) for sign in UNREACHED):
                break
            continue
        reason = _NOTHING if found.torch == configured.torch else f"with it, {found.shown} would come"
        if _suits(found, wish, requirements) and (found.public == configured.public or not _keeps_version(wish)):
            place = "the configured indexes" if source.own_index is None else "torch's own index"
            progress(f"{found.shown} is taken from {place}, for {_for_people(wish)}.")
            return source
    _settle_for(configured, wish, requirements, reason, package, progress)
    return None


def _sources(wish: TorchWish, configured: _Resolved, is_dated: bool) -> Iterator[TorchSource]:
    """Yield where the builds may be, the best first; a mirror that has one build may have the others, too."""
    if configured.build:
        for build in wish.builds:
            yield TorchSource(None, configured.pins(f"+{build}"))
    for build in wish.builds:
        yield TorchSource(build, configured.fixed if is_dated else ())


def _suits(found: _Resolved, wish: TorchWish, requirements: Requirements) -> bool:
    if wish.is_for_cpu:
        return not found.cuda(requirements) and not found.holds_cuda_itself
    # An operator who offers a build of another kind, such as 2.4.0+ours1, has made it for this.
    is_of_another_kind = not re.fullmatch(r"|cpu|cu\d+", found.build)
    return found.build in wish.builds or (is_of_another_kind and not wish.demanded)


def _keeps_version(wish: TorchWish) -> bool:
    """Builds for an old CUDA end with an old torch: nobody who leaves the version open means that one."""
    return not wish.demanded and not wish.is_for_cpu


def _says_itself(found: _Resolved, requirements: Requirements) -> bool:
    """Whether the package's own words have led to this build."""
    lines = [line for file in requirements.files for line in stated_lines(file.read_bytes())]
    if found.is_direct or any("--hash=" in line for line in lines):
        return True
    pinned = [match["version"] for line in lines if (match := _PINNED.match(line))]
    has_own_places = any(source.startswith(_OWN_PLACES) for source in requirements.sources)
    # Also of what is built for one torch, such as detectron2==0.6+cu113.
    return any(map(_BUILD.search, [*pinned, *(found.versions.values() if has_own_places else ())]))


def _settle_for(
    configured: _Resolved,
    wish: TorchWish,
    requirements: Requirements,
    reason: str,
    package: str,
    progress: Progress,
) -> None:
    """Say that the configured indexes' torch is taken, or raise where that would be wrong."""
    unused = f"torch's own index, which uv knows, was of no use ({reason})"
    cuda = configured.cuda(requirements)
    if wish.is_for_cpu and cuda:
        raise InstallFailed(
            f".mdai/requirements.txt of {package} would bring CUDA, gigabytes of it, into an environment for the CPU: "
            f"the configured indexes give {', '.join(cuda)}, and {unused}. Nothing was installed. Let uv reach that "
            f"index; or put the wheel of torch {configured.public}+cpu where pip's configuration finds it, a folder "
            "in find-links will do; or say `--torch-backend none`, which takes what the configured indexes give."
        )
    if wish.demanded and not wish.is_for_cpu:
        raise InstallFailed(
            f"--torch-backend {wish.builds[0]}: the configured indexes give {configured.shown} for {package}, "
            f"and {unused}. Name another build, or say `--torch-backend none`, which takes what they give."
        )
    remark = ""
    if wish.is_for_cpu:
        remark = " It holds CUDA, which the model will not use."
    elif configured.build == CPU:
        remark = " It is for the CPU: the model will not use the GPU."
    progress(f"{configured.shown} comes from the configured indexes, since {unused}.{remark}")


def _reason(error: InstallFailed) -> str:
    """Return uv's last word, which is the nearest to the cause, on one line."""
    output = error.__cause__.output if isinstance(error.__cause__, UvFailed) else str(error)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if any(sign in output for sign in UNREACHED):
        last = lines[-1].removeprefix("cause: ") if lines else "no answer"
        return f"it was not reached: {last.rstrip('.')}"
    return _NOTHING


def _for_people(wish: TorchWish) -> str:
    build = wish.builds[0]
    return "the CPU" if wish.is_for_cpu else f"CUDA {build[2:-1]}.{build[-1]}" if build.startswith("cu") else build
