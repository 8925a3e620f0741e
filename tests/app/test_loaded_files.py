"""Files that wait on disk for the request that names them."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.interface.errors import InterfaceError, InvalidRequest
from app.interface.files import ContentPath
from app.interface.loading import read_loading
from app.loaded_files import LoadedFiles, TakenFiles
from app.refusals import BodyTooLarge, LoadedFilesFull
from model_loader.errors import PredictFailed, QueueFull
from model_loader.shared_buffer import SharedBuffer


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loaded(tmp_path: Path, clock: Clock) -> LoadedFiles:
    return LoadedFiles(tmp_path / "loaded", quota=100, max_age=60, most_files=5, now=clock)


def store(loaded: LoadedFiles, files: dict[str, bytes]) -> None:
    packed = msgpack.packb([{"content": content, "content_path": path} for path, content in files.items()])
    with SharedBuffer() as body:
        body.write(packed)
        loaded.store(body, read_loading(packed))


def named(*paths: str, is_needed: bool = True) -> list[ContentPath]:
    return [ContentPath(path, f"files[{index}]", is_needed) for index, path in enumerate(paths)]


def contents(taken: TakenFiles) -> dict[str, bytes]:
    files = [path for path in taken.folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(taken.folder)): path.read_bytes() for path in files}


def left_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def during(taken: TakenFiles, then: Callable[[TakenFiles], Any] | None = None) -> None:
    """Go through a request; what it leaves for other threads is done when this returns."""

    async def request() -> None:
        async with taken:
            if then:
                then(taken)

    asyncio.run(request())


def failing_with(error: Exception) -> Callable[[TakenFiles], None]:
    def fail(_: TakenFiles) -> None:
        raise error

    return fail


def test_a_request_finds_its_files_under_their_paths_and_alone(loaded: LoadedFiles) -> None:
    store(loaded, {"1/2/a.dcm": b"A", "1/b.dcm": b"", "other": b"O"})
    taken = loaded.take(named("1/2/a.dcm", "1/b.dcm"))
    assert contents(taken) == {"1/2/a.dcm": b"A", "1/b.dcm": b""}
    assert taken.folder.is_absolute()


def test_nobody_else_may_look(loaded: LoadedFiles, tmp_path: Path) -> None:
    store(loaded, {"a/b": b"A"})
    folders = [tmp_path / "loaded", loaded.take(named("a/b")).folder]
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700, 0o700]
    assert (folders[1] / "a/b").stat().st_mode & 0o777 == 0o600


def test_files_are_deleted_with_the_request_that_used_them(loaded: LoadedFiles, tmp_path: Path) -> None:
    store(loaded, {"a": b"A", "b": b"B"})
    during(loaded.take(named("a")))
    assert left_in(tmp_path / "loaded") == ["file-1"]
    with pytest.raises(InvalidRequest, match=r"files\[0\].content_path names a file that is not here"):
        loaded.take(named("a"))


@pytest.mark.parametrize("error", [PredictFailed("It raised."), asyncio.CancelledError("The client is gone.")])
def test_they_are_deleted_when_it_failed_and_when_its_client_left(
    loaded: LoadedFiles, tmp_path: Path, error: Exception
) -> None:
    store(loaded, {"a": b"A"})
    with pytest.raises(type(error)):
        during(loaded.take(named("a")), failing_with(error))
    assert left_in(tmp_path / "loaded") == []


def test_a_request_that_was_refused_for_now_finds_them_when_it_comes_again(loaded: LoadedFiles) -> None:
    store(loaded, {"1/a": b"A", "b": b"B"})
    with pytest.raises(QueueFull):
        during(loaded.take(named("1/a", "b")), failing_with(QueueFull("Later.")))
    assert contents(loaded.take(named("1/a", "b"))) == {"1/a": b"A", "b": b"B"}


def test_they_stay_until_the_worker_has_ended_with_them_though_the_client_left(
    loaded: LoadedFiles, tmp_path: Path
) -> None:
    store(loaded, {"a": b"A"})

    async def request() -> None:
        taken = loaded.take(named("a"))
        with pytest.raises(TimeoutError):
            async with taken:
                taken.hold()
                raise TimeoutError
        assert contents(taken) == {"a": b"A"}
        taken.let_go()

    asyncio.run(request())
    assert left_in(tmp_path / "loaded") == []


def test_what_is_loaded_meanwhile_under_the_same_path_is_for_the_next_request(loaded: LoadedFiles) -> None:
    store(loaded, {"a": b"old"})
    first = loaded.take(named("a"))
    store(loaded, {"a": b"new"})
    assert contents(first) == {"a": b"old"}
    during(first)
    assert contents(loaded.take(named("a"))) == {"a": b"new"}


def test_what_was_loaded_last_under_a_path_counts_and_takes_the_place_of_the_rest(
    loaded: LoadedFiles, tmp_path: Path
) -> None:
    for content in (b"1" * 40, b"2" * 40, b"3" * 40):
        store(loaded, {"a": content})
    assert left_in(tmp_path / "loaded") == ["file-2"]
    assert contents(loaded.take(named("a"))) == {"a": b"3" * 40}


def test_a_refused_request_does_not_overwrite_what_came_meanwhile(loaded: LoadedFiles) -> None:
    store(loaded, {"a": b"old"})
    taken = loaded.take(named("a"))
    store(loaded, {"a": b"new"})
    with pytest.raises(QueueFull):
        during(taken, failing_with(QueueFull("Later.")))
    assert contents(loaded.take(named("a"))) == {"a": b"new"}
    store(loaded, {"b": b"x" * 97})


def test_a_file_with_content_of_its_own_need_not_have_been_loaded(loaded: LoadedFiles) -> None:
    assert contents(loaded.take(named("a", is_needed=False))) == {}


def test_a_missing_file_leaves_the_others_where_they_are(loaded: LoadedFiles) -> None:
    store(loaded, {"a": b"A"})
    with pytest.raises(InvalidRequest, match=r"files\[1\]"):
        loaded.take(named("a", "b"))
    assert contents(loaded.take(named("a"))) == {"a": b"A"}


@pytest.mark.parametrize("paths", [("a", "a/b"), ("a/b/c", "a")])
def test_a_file_below_a_file_is_refused(loaded: LoadedFiles, paths: tuple[str, str]) -> None:
    store(loaded, dict.fromkeys(paths, b"x"))
    with pytest.raises(InvalidRequest, match="lies below"):
        loaded.take(named(*paths))
    assert contents(loaded.take(named(paths[0]))) == {paths[0]: b"x"}


def test_the_quota_counts_what_waits_and_what_is_in_use(loaded: LoadedFiles) -> None:
    store(loaded, {"a": b"x" * 60, "b": b"x" * 40})
    for _ in range(2):
        with pytest.raises(LoadedFilesFull, match=r"2 files with 100 bytes are loaded .*-quota allows 100 bytes"):
            store(loaded, {"c": b"y"})
        taken = loaded.take(named("a"))
        with pytest.raises(LoadedFilesFull):
            store(loaded, {"c": b"y"})
        with pytest.raises(QueueFull):
            during(taken, failing_with(QueueFull("Later.")))
    during(loaded.take(named("a")))
    store(loaded, {"c": b"y" * 60})


def test_so_does_the_number_of_files(loaded: LoadedFiles) -> None:
    store(loaded, dict.fromkeys("abcde", b""))
    with pytest.raises(LoadedFilesFull):
        store(loaded, {"f": b""})
    during(loaded.take(named("a")))
    store(loaded, {"f": b""})


def test_what_never_fits_is_told_apart(loaded: LoadedFiles, tmp_path: Path) -> None:
    with pytest.raises(BodyTooLarge, match="--load-files-quota"):
        store(loaded, {"a": b"x" * 101})
    assert left_in(tmp_path) == []


def test_where_one_file_cannot_be_written_none_is(loaded: LoadedFiles, tmp_path: Path) -> None:
    store(loaded, {"first": b"x"})
    (tmp_path / "loaded/file-2").mkdir()
    with pytest.raises(LoadedFilesFull, match="cannot be written"):
        store(loaded, {"a": b"x" * 50, "b": b"x" * 49})
    assert left_in(tmp_path / "loaded") == ["file-0"]
    store(loaded, {"a": b"x" * 99})


def test_what_no_request_asks_for_is_deleted_in_time(loaded: LoadedFiles, clock: Clock, tmp_path: Path) -> None:
    store(loaded, {"old": b"x" * 50, "used": b"x"})
    used = loaded.take(named("used"))
    clock.now += 59
    store(loaded, {"new": b"x"})
    loaded.expire()
    assert len(left_in(tmp_path / "loaded")) == 3
    clock.now += 1
    loaded.expire()
    assert left_in(tmp_path / "loaded") == ["file-3", f"{used.folder.name}/used"]
    store(loaded, {"more": b"x" * 98})


def test_clients_at_once_never_get_more_than_the_quota_and_leave_nothing(tmp_path: Path) -> None:
    loaded = LoadedFiles(tmp_path / "loaded", quota=500, max_age=60)
    gate = threading.Barrier(8)

    def client(number: int) -> int:
        gate.wait(20)
        done = 0
        for turn in range(20):
            content = b"%d.%d" % (number, turn) * 10
            try:
                store(loaded, {"same": content, f"own/{number}": content})
                taken = loaded.take(named(f"own/{number}"))
                assert contents(taken) == {f"own/{number}": content}
                during(taken)
                done += 1
            except LoadedFilesFull:
                pass
        return done

    with ThreadPoolExecutor(8) as clients:
        assert sum(clients.map(client, range(8))) > 0
    assert len(left_in(tmp_path / "loaded")) == 1
    during(loaded.take(named("same")))
    store(loaded, {"all": b"x" * 500})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=st.lists(st.text("a./\0~\\ä", max_size=12) | st.sampled_from(["../x", "/etc/x", "a/../../x"]), max_size=4))
def test_no_path_writes_outside_of_the_folder(tmp_path: Path, paths: list[str]) -> None:
    folder = tmp_path / "run" / "loaded"
    loaded = LoadedFiles(folder, quota=100, max_age=60)
    packed = msgpack.packb([{"content": b"x", "content_path": path} for path in paths])
    try:
        files = read_loading(packed)
    except InterfaceError:
        return
    with SharedBuffer() as body:
        body.write(packed)
        loaded.store(body, files)
    try:
        taken = loaded.take(named(*(file.path for file in files)))
    except InvalidRequest as error:
        assert "lies below" in error.text
    else:
        assert set(contents(taken)) == {file.path for file in files}
        during(taken)
        assert left_in(folder) == []
    assert [path.name for path in (tmp_path / "run").iterdir()] in (["loaded"], [])
    during(loaded.take(named()))
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()
