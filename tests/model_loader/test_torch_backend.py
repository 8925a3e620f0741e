"""Which build of torch a package gets: real uv, small wheels named torch, and torch's own index played here."""

import ensurepip
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from model_loader.config import CUDA_VERSIONS, ModelConfig
from model_loader.environment import EnvironmentRequest, export_wheels, lock_environment
from model_loader.errors import InstallFailed
from model_loader.package import ModelPackage
from model_loader.requirements_file import read_requirements
from model_loader.torch_backend import TorchSource, TorchWish, choose_source, torch_wish
from model_loader.uv_process import UvFailed
from tests.building import NOTHING, build, ignore, open_with, write_wheel
from tests.torch_index import TorchIndex, torch_index

pytest_plugins = ("tests.building_places",)

GPU = replace(NOTHING, gpu=True)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[TorchIndex]:
    """torch's own index."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on this machine")
    own = tmp_path / "torch"
    for version in ("1.13.1", "2.1.0"):
        write_wheel(own / "cpu", "torch", f"{version}+cpu")
    write_wheel(own / "cu117", "torch", "1.13.1+cu117", requires=["nvidia-cublas-cu11"])
    write_wheel(own / "cu118", "torch", "2.1.0+cu118", requires=["nvidia-cublas-cu11"])
    write_wheel(own / "cu121", "torch", "2.1.0+cu121", requires=["nvidia-cublas-cu12"])
    (tmp_path / "certificates").mkdir()
    with torch_index(own, tmp_path / "certificates") as served:
        yield served


@pytest.fixture
def mirror(tmp_path: Path) -> dict[str, str]:
    """A machine whose index has what everybody's has: torch's builds for CUDA, and what they need. No way out."""
    wheels = tmp_path / "wheels"
    write_wheel(wheels, "torch", "1.13.1", requires=["nvidia-cublas-cu11"])
    write_wheel(wheels, "torch", "2.1.0", requires=["nvidia-cublas-cu12", "triton"])
    write_wheel(wheels, "needs_torch", "1.0", requires=["torch"])
    for name in ("nvidia_cublas_cu11", "nvidia_cublas_cu12", "triton", "plain"):
        write_wheel(wheels, name, "1.0")
    (tmp_path / "empty").mkdir()
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = file://{tmp_path}/empty\nfind-links = {wheels}\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    closed = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    return environ | closed | {"PIP_CONFIG_FILE": str(config), "UV_CACHE_DIR": str(tmp_path / "uv")}


@pytest.fixture
def online(mirror: dict[str, str], index: TorchIndex) -> dict[str, str]:
    """The same machine, which reaches torch's own index."""
    return mirror | index.environ


def asking(folder: Path, requirements: str, cuda_version: str = "12.1") -> ModelPackage:
    config = ModelConfig(device_type="gpu", cuda_version=cuda_version)
    return replace(open_with(folder / "model", requirements), config=config)


def installed(
    package: ModelPackage, cache: Path, environ: dict[str, str], request: EnvironmentRequest = NOTHING
) -> list[str]:
    environment = build(package, cache, environ, request)
    return [f"{name}=={version}" for name, version in environment.packages]


@pytest.mark.parametrize("version", CUDA_VERSIONS)
def test_every_cuda_version_has_builds_of_its_major_version_its_own_or_the_one_before_it_first(version: str) -> None:
    wish = torch_wish("auto", gpu=True, cuda_version=version)
    assert wish is not None
    own = f"cu{version.replace('.', '')}"
    assert wish.builds[0] == {"cu122": "cu121", "cu123": "cu121"}.get(own, own)
    assert len(set(wish.builds)) == len(wish.builds) > 2
    assert {build[:4] for build in wish.builds} == {own[:4]}


def test_later_builds_come_before_earlier_ones_and_the_nearest_first() -> None:
    wish = torch_wish("auto", gpu=True, cuda_version="11.3")
    assert wish is not None
    assert wish.builds == ("cu113", "cu115", "cu116", "cu117", "cu118", "cu111", "cu110")


ON_CPU = TorchWish(("cpu",))
ON_GPU = TorchWish(("cu121", "cu124", "cu126"))
DEFAULT = " + nvidia-cublas-cu12==12.1.3.1\n + torch==2.1.0\n + triton==2.1.0\n"
NOT_REACHED = (
    "error: Request failed after 3 retries\n  cause: Failed to fetch\n  cause: Connection refused (os error 111)"
)


class Resolutions:
    """What uv says with each backend; ``asked`` are those with which it was called."""

    def __init__(self, **said: str) -> None:
        self.said = said
        self.asked: list[str] = []
        self.told: list[str] = []

    def __call__(self, source: TorchSource | None) -> str:
        name = self.named(source) or "configured"
        self.asked.append(name)
        said = self.said.get(name, "error: No solution found when resolving dependencies")
        if said.startswith("error"):
            raise InstallFailed(said) from UvFailed(said)
        return said

    def chosen(self, folder: Path, wish: TorchWish | None, requirements: str = "torch==2.1.0\n") -> str | None:
        (folder / "requirements.txt").write_text(requirements)
        read = read_requirements(folder / "requirements.txt")
        source = choose_source(wish, read, self, package="model", is_dated=False, progress=self.told.append)
        return self.named(source)

    @staticmethod
    def named(source: TorchSource | None) -> str | None:
        return source and (source.own_index or " ".join(source.arguments))


@pytest.mark.parametrize(
    ("wish", "configured"),
    [
        (ON_CPU, " + plain==1.0\n"),
        (ON_GPU, " + torchmetrics==1.0\n"),
        (None, DEFAULT),
        (ON_CPU, " + torch==2.1.0+cpu\n"),
        (ON_CPU, " + nvidia-nccl-cu12==2.1\n + torch==2.1.0+cpu\n + xgboost==3.0\n"),
        (ON_CPU, " + torch==2.1.0\n"),  # as on a Mac
        (ON_GPU, " + torch==2.1.0+cu126\n"),
        (ON_GPU, " + torch==2.1.0+ours1\n"),
    ],
)
def test_what_the_configured_indexes_have_is_kept_where_it_suits_and_nobody_else_asked(
    tmp_path: Path, wish: TorchWish | None, configured: str
) -> None:
    resolutions = Resolutions(configured=configured)
    assert resolutions.chosen(tmp_path, wish) is None
    assert (resolutions.asked, resolutions.told) == (["configured"], [])


@pytest.mark.parametrize(
    ("said", "backend", "told"),
    [
        ({"cu121": " + torch==2.1.0+cu121\n"}, "cu121", "torch==2.1.0+cu121 is taken from torch's own index"),
        ({"cu126": " + torch==2.1.0+cu126\n"}, "cu126", "torch==2.1.0+cu126 is taken from torch's own index"),
        # An old torch, or none of its own: what the model would have had anyhow has the right version at least.
        ({"cu121": " + torch==2.0.0+cu121\n"}, None, "comes from the configured indexes"),
        ({"cu121": DEFAULT}, None, "it has nothing that fits better"),
        ({"cu121": NOT_REACHED, "cu126": " + torch==2.1.0+cu126\n"}, None, "it was not reached: Connection refused"),
    ],
)
def test_on_a_gpu_torch_s_own_index_chooses_the_build_and_never_the_version(
    tmp_path: Path, said: dict[str, str], backend: str | None, told: str
) -> None:
    resolutions = Resolutions(configured=DEFAULT, **said)
    assert resolutions.chosen(tmp_path, ON_GPU) == backend
    (line,) = resolutions.told
    assert told in line
    if "not reached" in told:
        assert resolutions.asked == ["configured", "cu121"]


def test_a_mirror_with_several_builds_has_the_one_for_the_device(
    tmp_path: Path, cache: Path, mirror: dict[str, str]
) -> None:
    """uv by itself takes the last of them by the alphabet; what is built with torch goes with it."""
    for build_of in ("cpu", "cu118", "cu121"):
        write_wheel(tmp_path / "wheels", "torch", f"2.1.0+{build_of}")
        write_wheel(tmp_path / "wheels", "torchvision", f"0.16.0+{build_of}", requires=["torch==2.1.0"])
    package = asking(tmp_path, "torchvision\n", "11.3")
    assert installed(package, cache, mirror) == ["torch==2.1.0+cpu", "torchvision==0.16.0+cpu"]
    assert installed(package, cache, mirror, GPU) == ["torch==2.1.0+cu118", "torchvision==0.16.0+cu118"]


def test_a_torch_for_the_cpu_on_a_gpu_is_told(tmp_path: Path) -> None:
    resolutions = Resolutions(configured=" + torch==2.1.0+cpu\n")
    assert resolutions.chosen(tmp_path, ON_GPU) is None
    assert resolutions.told[0].endswith("It is for the CPU: the model will not use the GPU.")


@pytest.mark.parametrize(
    ("configured", "said", "reason"),
    [
        (DEFAULT, NOT_REACHED, "give torch==2.1.0, nvidia-cublas-cu12, .*not reached: Connection refused"),
        (DEFAULT, DEFAULT, "nothing that fits better"),
        (" + nvidia-cudnn-cu13==9\n + torch==2.9.0\n", "error: no", "torch==2.9.0, nvidia-cudnn-cu13, and"),
        (" + torch==2.1.0+cu121\n", " + torch==2.2.0+cu121\n", r"with it, torch==2\.2\.0\+cu121 would come"),
    ],
)
def test_cuda_that_nobody_asked_for_does_not_come_to_the_cpu(
    tmp_path: Path, configured: str, said: str, reason: str
) -> None:
    with pytest.raises(InstallFailed, match=rf"an environment for the CPU.*{reason}.*`--torch-backend none`"):
        Resolutions(configured=configured, cpu=said).chosen(tmp_path, ON_CPU)


def test_cuda_that_the_requirements_list_is_asked_for(tmp_path: Path) -> None:
    """As in a file that `pip freeze` wrote."""
    resolutions = Resolutions(configured=DEFAULT, cpu=NOT_REACHED)
    assert resolutions.chosen(tmp_path, ON_CPU, "torch==2.1.0\nnvidia-cublas-cu12==12.1.3.1\n") is None


def test_an_old_wheel_that_holds_cuda_itself_is_taken_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is less than a gigabyte."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    resolutions = Resolutions(configured=" + torch==1.9.0\n", cpu=NOT_REACHED)
    assert resolutions.chosen(tmp_path, ON_CPU) is None
    assert resolutions.told[0].endswith("It holds CUDA, which the model will not use.")
    resolutions.said["cpu"] = " + torch==1.9.0+cpu\n"
    assert resolutions.chosen(tmp_path, ON_CPU) == "cpu"


def test_a_build_that_the_operator_names_is_taken_in_any_version_or_refused(tmp_path: Path) -> None:
    cu118 = TorchWish(("cu118",), demanded=True)
    resolutions = Resolutions(configured=DEFAULT, cu118=" + torch==2.0.0+cu118\n")
    assert resolutions.chosen(tmp_path, cu118) == "cu118"
    for said in (NOT_REACHED, DEFAULT, "error: invalid value 'cu118'"):
        with pytest.raises(InstallFailed, match=r"^--torch-backend cu118: .*Name another build"):
            Resolutions(configured=DEFAULT, cu118=said).chosen(tmp_path, cu118)


@pytest.mark.parametrize(
    ("requirements", "configured"),
    [
        ("torch==2.1.0+cu118\n", " + torch==2.1.0+cu118\n"),
        ("Torch[all] === 2.1.0+cu118 ; python_version > '3'\n", " + torch==2.1.0+cu118\n"),
        ("--extra-index-url http://127.0.0.1:9/cu118\ntorch==2.1.0\n", " + torch==2.1.0+cu118\n"),
        ("-f http://127.0.0.1:9/\ntorch==2.1.0\ndetectron2\n", DEFAULT + " + detectron2==0.6+cu121\n"),
        ("numpy==1.26 --hash=sha256:00\ntorch==2.1.0 \\\n  --hash=sha256:01\n", DEFAULT),
        ("torch-scatter==2.1.1+pt20cu118\n", DEFAULT + " + torch-scatter==2.1.1+pt20cu118\n"),
        ("torch @ http://127.0.0.1:9/x\n", " + nvidia-cublas-cu12==1\n + torch @ http://127.0.0.1:9/x\n"),
        ("http://a/b\n", " + torch @ http://a/torch-2.1.0%2Bcu118-cp38-cp38-linux_x86_64.whl\n"),
    ],
)
def test_the_package_s_own_words_about_the_build_win(tmp_path: Path, requirements: str, configured: str) -> None:
    resolutions = Resolutions(configured=configured)
    assert resolutions.chosen(tmp_path, ON_CPU, requirements) is None
    assert resolutions.asked == ["configured"]
    assert resolutions.told[0].endswith("says itself which build it wants.")


def test_a_place_of_the_package_s_own_that_is_for_something_else_says_nothing_about_torch(tmp_path: Path) -> None:
    resolutions = Resolutions(configured=DEFAULT, cpu=" + torch==2.1.0+cpu\n")
    assert resolutions.chosen(tmp_path, ON_CPU, "-f http://127.0.0.1:9/\ntorch==2.1.0\nours==1.0+local\n") == "cpu"


def test_what_cannot_be_resolved_at_all_is_told_as_ever(tmp_path: Path) -> None:
    resolutions = Resolutions(configured="error: numpy=1.19 is no requirement")
    with pytest.raises(InstallFailed, match=r"numpy=1\.19 is no requirement"):
        resolutions.chosen(tmp_path, ON_CPU)
    assert resolutions.asked == ["configured"]


def test_on_the_cpu_torch_comes_without_cuda_and_is_there_where_it_may_not_reach_out(
    tmp_path: Path, cache: Path, online: dict[str, str], mirror: dict[str, str]
) -> None:
    """With the real uv: also where another package needs it, and offline from what was fetched once."""
    package, offline = asking(tmp_path, "needs-torch\n"), replace(NOTHING, offline=True)
    assert installed(package, cache, online) == ["needs-torch==1.0", "torch==2.1.0+cpu"]
    assert build(package, cache, mirror, offline).cached
    shutil.rmtree(cache / "environments")
    assert installed(package, cache, online, offline) == ["needs-torch==1.0", "torch==2.1.0+cpu"]


def test_on_a_gpu_torch_is_built_for_the_cuda_version(tmp_path: Path, cache: Path, online: dict[str, str]) -> None:
    """With the real uv: in the build for 11.3's successor, and where nobody has one, as it would have come."""
    assert "torch==1.13.1+cu117" in installed(asking(tmp_path, "torch<2\n", "11.3"), cache, online, GPU)
    assert "torch==1.13.1" in installed(asking(tmp_path, "torch<2\n", "12.1"), cache, online, GPU)


def test_cuda_is_refused_where_it_was_not_asked_for_and_comes_where_the_operator_allows_it(
    tmp_path: Path, cache: Path, mirror: dict[str, str]
) -> None:
    lines: list[str] = []
    with pytest.raises(
        InstallFailed, match=r"nvidia-cublas-cu12.*not reached.*torch 2\.1\.0\+cpu.*--torch-backend none"
    ):
        build(asking(tmp_path, "torch\n"), cache, mirror, progress=lines.append)
    assert not any("Installing .mdai" in line for line in lines)
    allowed = replace(NOTHING, torch_backend="none")
    assert "nvidia-cublas-cu12==1.0" in installed(asking(tmp_path, "torch\n"), cache, mirror, allowed)


@pytest.mark.parametrize(
    "requirements",
    ["torch==1.13.1+cu117\n-f {own}/cu117\n", "torch @ file://{own}/cu117/torch-1.13.1%2Bcu117-py3-none-any.whl\n"],
)
def test_the_package_s_own_places_are_not_broken(
    tmp_path: Path, cache: Path, online: dict[str, str], index: TorchIndex, requirements: str
) -> None:
    lines: list[str] = []
    package = asking(tmp_path, requirements.format(own=tmp_path / "torch"))
    environment = build(package, cache, online, progress=lines.append)
    assert ("torch", "1.13.1+cu117") in environment.packages
    assert any(line.startswith("torch==1.13.1+cu117 is not one for the CPU, and is installed") for line in lines)
    assert index.asked == []


def test_what_somebody_told_uv_is_heeded(tmp_path: Path, cache: Path, online: dict[str, str]) -> None:
    """And what the package's own config tells it."""
    said = online | {"UV_TORCH_BACKEND": "cu118"}
    assert "torch==2.1.0+cu118" in installed(asking(tmp_path, "torch\n"), cache, said)
    config = ModelConfig(env={"UV_TORCH_BACKEND": "cu121"})
    assert "torch==2.1.0+cu121" in installed(replace(asking(tmp_path, "torch\n"), config=config), cache, online)


def test_as_of_a_day_torch_has_the_version_of_that_day_though_its_index_tells_no_dates(
    tmp_path: Path, cache: Path, online: dict[str, str], index: TorchIndex
) -> None:
    """What lies in folders has no dates and always counts; here a newer torch is in torch's own index."""
    write_wheel(index.folder / "cpu", "torch", "2.3.0+cpu")
    dated = replace(NOTHING, exclude_newer="2024-01-01")
    assert installed(asking(tmp_path, "torch\n"), cache, online, dated) == ["torch==2.1.0+cpu"]


def test_only_what_is_resolved_depends_on_the_device(tmp_path: Path, cache: Path, mirror: dict[str, str]) -> None:
    for requirements, count in (("plain\n", 2), ("# nothing\n", 1)):
        package = asking(tmp_path, requirements)
        assert len({build(package, cache, mirror, request).key for request in (NOTHING, GPU)}) == count


def test_a_lock_is_installed_as_it_is_on_any_device(
    tmp_path: Path, cache: Path, online: dict[str, str], index: TorchIndex
) -> None:
    """Also what the configured indexes lack: the locked version says where it came from."""
    package = asking(tmp_path, "torch\n")
    environment = build(package, cache, online)
    lock = lock_environment(package, environment, NOTHING, progress=ignore, environ=online)
    assert "torch==2.1.0+cpu" in lock.text and "http" not in lock.text
    (package.mdai / "requirements.lock").write_text(lock.text)
    fresh = {**online, "UV_CACHE_DIR": str(tmp_path / "fresh")}
    index.asked.clear()
    assert installed(package, cache, fresh, GPU) == ["torch==2.1.0+cpu"]
    assert set(index.asked) == {"cpu"}
    assert build(package, cache, fresh).cached


def test_a_lock_that_needs_nothing_else_asks_nobody_else(
    tmp_path: Path, cache: Path, online: dict[str, str], index: TorchIndex
) -> None:
    package = asking(tmp_path, "torch\n")
    allowed = replace(NOTHING, torch_backend="none")
    lock = lock_environment(package, build(package, cache, online, allowed), allowed, progress=ignore, environ=online)
    (package.mdai / "requirements.lock").write_text(lock.text)
    assert "torch==2.1.0" in installed(package, cache, online)
    lines: list[str] = []
    build(package, cache, online, replace(NOTHING, torch_backend="cu118"), lines.append)
    assert lines == ["--torch-backend has no effect: .mdai/requirements.lock leaves no choice."]
    assert index.asked == []


def test_a_locked_torch_that_is_nowhere_is_told_with_both_places(
    tmp_path: Path, cache: Path, mirror: dict[str, str]
) -> None:
    package = asking(tmp_path, "torch\n")
    (package.mdai / "requirements.lock").write_text(f"torch==2.1.0+cpu --hash=sha256:{'0' * 64}\n")
    mirror["UV_HTTP_RETRIES"] = "0"
    with pytest.raises(InstallFailed, match=r"(?s)no version of torch==2\.1\.0\+cpu.*Nor was torch's own index"):
        build(package, cache, mirror)


def test_a_wheelhouse_gets_torch_from_where_it_came_and_is_used_as_it_is(
    tmp_path: Path, cache: Path, online: dict[str, str], index: TorchIndex
) -> None:
    (pip,) = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    shutil.copy(pip, tmp_path / "wheels")
    write_wheel(tmp_path / "wheels", "msgpack", "1.1")
    package, house = asking(tmp_path, "torch\n"), tmp_path / "house"
    environment = build(package, cache, online)
    wheels = export_wheels(house, package, environment, NOTHING, progress=ignore, environ=online)
    assert wheels == ["torch-2.1.0+cpu-py3-none-any.whl", "msgpack-1.1-py3-none-any.whl"]
    index.asked.clear()
    carried = replace(GPU, offline=True, wheelhouse=house)
    assert installed(package, cache, online, carried) == ["torch==2.1.0+cpu"]
    assert index.asked == []
