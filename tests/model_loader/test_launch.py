"""From a package to plans for workers."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from model_loader.devices import Device, DevicePlan
from model_loader.launch import preparation
from model_loader.pool import Launch, PoolState
from model_loader.workdir import RunFolder
from tests.building import NOTHING, open_with, write_wheel
from tests.hosting import Hosted, until

pytest_plugins = ("tests.building_places",)

Host = Callable[..., Hosted]


def test_every_start_of_a_worker_has_fresh_folders_and_each_worker_its_own(host: Host) -> None:
    hosted = host("echoes", workers=2)
    launch = hosted.launch()
    first, second = (plan() for plan in launch.plans)
    assert first.working_directory != second.working_directory
    assert first.environment["TMPDIR"] == str(first.working_directory / "tmp")
    (first.working_directory / "left").touch()
    again = launch.plans[0]()
    assert again.working_directory != first.working_directory
    first.leave()
    assert not first.working_directory.exists()
    assert not (again.working_directory / "left").exists()
    assert again.working_directory.is_relative_to(hosted.run_folder.path)
    assert (again.working_directory / "lib").resolve() == hosted.package.root


def test_home_is_kept_for_each_content_of_a_package(host: Host, tmp_path: Path) -> None:
    homes = [host(name, cache=tmp_path / "c").launch().plans[0]().environment["HOME"] for name in ("echoes",) * 2]
    other = host("waits", cache=tmp_path / "c").launch().plans[0]().environment["HOME"]
    assert homes[0] == homes[1] != other
    assert Path(homes[0]).parts[-3::2] == ("homes", "home")
    assert Path(other).is_dir()


def test_homes_may_be_a_link_to_a_volume_where_nothing_was_made_yet(host: Host, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c/homes").symlink_to(tmp_path / "volume/homes")
    home = host("echoes", cache=tmp_path / "c").launch().plans[0]().environment["HOME"]
    assert Path(home).is_dir() and Path(home).is_relative_to(tmp_path / "volume/homes")


def test_where_homes_cannot_be_kept_there_is_one_for_the_run_and_a_warning(
    host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As in an image whose root is read-only, and without a volume. Nobody, root included, makes folders in /sys."""
    (tmp_path / "c").mkdir()
    (tmp_path / "c/homes").symlink_to("/sys/homes")
    hosted = host("echoes", cache=tmp_path / "c")
    home = Path(hosted.launch().plans[0]().environment["HOME"])
    assert home.is_dir() and home.is_relative_to(hosted.run_folder.path)
    assert "/sys/homes cannot be written" in caplog.text and "is lost when the service ends" in caplog.text


def test_the_facts_say_where_the_model_runs(host: Host) -> None:
    facts = host("echoes", workers=2).launch().facts
    assert facts["devices"] == ["cpu", "cpu"]
    assert set(facts["environment"]) == {"description", "python", "packages"}


def test_a_cache_that_cannot_be_written_is_a_reason_and_not_a_silence(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    hosted = host("echoes", cache=tmp_path / "file")
    with pytest.raises(Exception, match=r"file"):
        hosted.start()
    assert hosted.pool.state is PoolState.FAILED


def test_stopping_while_the_environment_is_built_ends_what_builds_it(host: Host) -> None:
    hosted = host("echoes", environment="auto")

    async def scenario() -> None:
        await hosted.pool.start()
        await until(lambda: ": " in str(hosted.pool.describe()["reason"]), "it has said something")
        await hosted.pool.stop(0)
        assert hosted.pool.state is PoolState.STOPPING
        await asyncio.get_running_loop().shutdown_default_executor()
        await until(lambda: not hosted.processes(), "uv is gone")

    hosted.run(scenario())


@pytest.mark.parametrize("on_gpu", [True, False])
def test_the_environment_is_built_for_the_devices(
    tmp_path: Path, cache: Path, local: dict[str, str], on_gpu: bool
) -> None:
    write_wheel(tmp_path / "wheels", "torch", "2.1.0+cpu")
    package, lines = open_with(tmp_path / "model", "torch\n"), list[str]()
    devices = DevicePlan((Device("one"),), on_gpu=on_gpu)
    with RunFolder(tmp_path) as run:
        launch = asyncio.run(_made(preparation(package, NOTHING, lambda: devices, run, cache, local)(lines.append)))
    assert launch.facts["environment"]["packages"] == {"torch": "2.1.0+cpu"}
    assert any("the model will not use the GPU" in line for line in lines) is on_gpu


async def _made(launch: Awaitable[Launch]) -> Launch:
    return await launch
