"""The folders of a run and of its workers, and what is left of runs that were killed."""

import ctypes
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from model_loader.workdir import RunFolder, WorkerFolder, remove_abandoned, remove_tree, worker_environment

KILLED = """
import os, sys
from pathlib import Path
from model_loader.workdir import RunFolder
run = RunFolder(Path(sys.argv[1]))
(run.path / "w0").mkdir()
print(run.path, flush=True)
if sys.argv[2] == "wait":
    sys.stdin.read()
os._exit(9)
"""


def abandoned(base: Path) -> Path:
    """The folder of a run that ended without cleaning up."""
    ended = subprocess.run([sys.executable, "-c", KILLED, base, "die"], capture_output=True, text=True)
    assert ended.returncode == 9
    return Path(ended.stdout.strip())


def test_a_run_has_a_folder_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as run:
        assert run.scratch.is_dir()
        assert run.path.stat().st_mode & 0o777 == 0o700
        (run.worker_folder("w0", tmp_path).temp / "left").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    left = abandoned(tmp_path)
    assert (left / "w0").is_dir()
    with RunFolder(tmp_path) as run:
        assert list(tmp_path.iterdir()) == [run.path]


def test_a_run_that_lives_keeps_its_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, tmp_path, "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living:
        assert living.stdout is not None
        folder = Path(living.stdout.readline().strip())
        remove_abandoned(tmp_path)
        with RunFolder(tmp_path):
            assert (folder / "w0").is_dir()
        living.kill()
    remove_abandoned(tmp_path)
    assert not folder.exists()


def test_runs_that_start_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    abandoned(tmp_path)
    command = [sys.executable, "-c", KILLED, tmp_path, "wait"]
    runs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    folders = {Path(run.stdout.readline().strip()) for run in runs if run.stdout is not None}
    assert len(folders) == 4
    assert set(tmp_path.iterdir()) == folders
    assert all((folder / "w0").is_dir() for folder in folders)
    for run in runs:
        with run:
            run.kill()


@pytest.mark.parametrize(
    "kind", ["without lock", "own lock", "unnamed lock", "lock is a link", "lock is a fifo", "file"]
)
def test_strangers_of_a_similar_name_are_not_touched(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "mdai-model-checkout"
    if kind == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / "precious").write_text("mine")
    if kind == "own lock":
        (folder / "lock").write_text("the lock of another program")
    elif kind == "unnamed lock":
        (folder / "lock.new").write_text("being made")
    elif kind == "lock is a link":
        (tmp_path / "elsewhere").mkdir()
        (folder / "lock").symlink_to(abandoned(tmp_path / "elsewhere") / "lock")
    elif kind == "lock is a fifo":
        os.mkfifo(folder / "lock")
    remove_abandoned(tmp_path)
    assert folder.exists()
    assert kind == "file" or (folder / "precious").exists()


def test_other_users_folders_are_not_touched_even_by_the_superuser(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs a superuser, who alone can give a folder away")
    left = abandoned(tmp_path)
    os.chown(left, 12345, 12345)
    remove_abandoned(tmp_path)
    assert left.is_dir()
    os.chown(left, 0, 0)
    remove_abandoned(tmp_path)
    assert not left.exists()


def test_a_link_to_an_abandoned_folder_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    left = abandoned(elsewhere)
    link = tmp_path / "mdai-model-link"
    link.symlink_to(left)
    remove_abandoned(tmp_path)
    assert link.is_symlink()
    assert (left / "w0").is_dir()


def test_the_lock_is_held_until_the_folder_is_gone(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as run:
        lock = os.open(run.path / "lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)


# A worker's folder.


def test_a_workers_folder_is_fresh_each_time_and_lib_leads_to_the_package(tmp_path: Path) -> None:
    root = tmp_path / "package"
    (root / "weights").mkdir(parents=True)
    for _ in range(2):
        folder = WorkerFolder(tmp_path / "w0", root)
        assert sorted(path.name for path in folder.path.iterdir()) == ["lib", "tmp"]
        assert list(folder.temp.iterdir()) == []
        assert (folder.path / "lib" / "weights").is_dir()
        (folder.temp / "left").write_text("x")
        (folder.path / "left").write_text("x")
    folder.remove()
    assert not folder.path.exists()
    assert (root / "weights").is_dir(), "links are not followed"


def without_privileges(act: Callable[[], None]) -> None:
    """Run `act` as somebody whom permissions stop: capabilities belong to threads on Linux."""
    errors: list[BaseException] = []

    def run() -> None:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        assert ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()) == 0
        try:
            act()
        except BaseException as error:  # noqa: BLE001 (raised again below)
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def test_a_tree_is_removed_though_the_package_took_its_permissions_away(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "kept").mkdir(parents=True)
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").write_text("x")
    (tree / "a" / "link").symlink_to(target)
    target.chmod(0o500)
    for folder in (tree / "a" / "b", tree / "a", tree):
        folder.chmod(0o000 if folder.name == "b" else 0o500)

    def removed() -> None:
        with pytest.raises(PermissionError):
            (tree / "new").write_text("permissions count")
        remove_tree(tree)
        assert not tree.exists()

    without_privileges(removed)
    assert (target / "kept").is_dir()
    assert target.stat().st_mode & 0o777 == 0o500
    target.chmod(0o700)


@pytest.mark.parametrize("kind", ["missing", "file", "link", "broken link"])
def test_removing_a_tree_that_is_none_removes_what_is_there(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "path", tmp_path / "target"
    if kind == "file":
        path.write_text("x")
    elif kind != "missing":
        path.symlink_to(target)
        if kind == "link":
            (target / "kept").mkdir(parents=True)
    remove_tree(path)
    assert not path.is_symlink()
    assert not path.exists()
    assert (target / "kept").exists() == (kind == "link")


# A worker's environment.


def test_a_worker_inherits_the_environment_less_what_is_the_servers(tmp_path: Path) -> None:
    inherited = {
        "PATH": "/usr/bin",
        "LANG": "de_DE.UTF-8",
        "HOME": "the server's",
        "TMPDIR": "the server's",
        "MDAI_MODEL_API_KEY_FILE": "secret",
        "MDAI_MODEL_API_KEYS": "secret",
        "MDAI_MODEL_PORT": "1",
        "PIP_INDEX_URL": "https://user:secret@index.example/simple",
        "UV_INDEX_OURS_PASSWORD": "secret",
        "OTEL_EXPORTER_OTLP_HEADERS": "secret",
        "MDAI_OTHER": "kept",
        "PYTHONPATH": "server",
        "PYTHONHOME": "server",
        "VIRTUAL_ENV": "server",
        "WEIGHTS": "inherited",
    }
    python = tmp_path / "bin" / "python"
    environment = worker_environment(inherited, python, Path("home"), Path("temp"), {"WEIGHTS": "of the config"})
    assert environment == {
        "PATH": f"{python.parent}{os.pathsep}/usr/bin",
        "LANG": "de_DE.UTF-8",
        "HOME": "home",
        "TMPDIR": "temp",
        "MDAI_OTHER": "kept",
        "MDAI_PATH": ".mdai",
        "PYTHONDONTWRITEBYTECODE": "1",
        "WEIGHTS": "of the config",
    }


def test_programs_that_a_package_starts_find_its_own_python(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").touch()
    python = tmp_path / "bin" / "python"
    environment = worker_environment({}, python, tmp_path, tmp_path, {})
    assert environment["VIRTUAL_ENV"] == str(tmp_path)
    assert environment["PATH"] == f"{python.parent}{os.pathsep}{os.defpath}"
