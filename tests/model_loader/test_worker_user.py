"""Workers as another user, where the superuser starts the server; skipped for anybody else, who cannot."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from model_loader.errors import EnvironmentBuildError, NotReady
from model_loader.home import model_home
from model_loader.process import GUEST
from model_loader.worker_user import UserError, WorkerUser, named_user
from tests.hosting import Hosted, await_true

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give workers another user")
REPOSITORY = Path(__file__).parents[2]
NOBODY = WorkerUser("12345", 12345, 12345)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own are the superuser's alone."""
    folder = Path(tempfile.mkdtemp(prefix="worker-user-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_users_are_known_by_name_and_number() -> None:
    nobody = named_user("nobody")
    assert named_user(str(nobody.uid)) == nobody and nobody.uid != 0
    assert named_user("12345") == NOBODY


@pytest.mark.parametrize("text", ["root", "0", "no such user", "-1", "99999999999999999999", "12e3", "٣"])
def test_who_is_nobody_or_has_privileges_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        named_user(text)


def test_a_folder_is_given_with_all_in_it_and_links_are_not_followed(place: Path) -> None:
    secret = place / "secret"
    secret.touch()
    inside = place / "home" / "a" / "b"
    inside.mkdir(parents=True)
    (inside / "link").symlink_to(secret)
    (place / "home" / "out").symlink_to(place)
    NOBODY.own(place / "home")
    assert {path.lstat().st_uid for path in (place / "home", inside, inside / "link")} == {NOBODY.uid}
    assert secret.stat().st_uid == place.stat().st_uid == 0


def test_what_cannot_be_reached_is_named(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    (closed / "python").touch()
    (place / "link").symlink_to(closed / "python")
    NOBODY.check_reach([place, Path("/bin/sh")])
    for path in (closed, closed / "python", place / "link", place / "nowhere"):
        with pytest.raises(EnvironmentBuildError, match=f"The user 12345 of --worker-user may not read {path}, which"):
            NOBODY.check_reach([place, path])


def test_only_its_group_passes_through_the_folder_of_a_run(place: Path) -> None:
    NOBODY.let_through(place)
    assert (stat.S_IMODE(place.stat().st_mode), place.stat().st_gid) == (0o710, NOBODY.gid)
    place.chmod(0o755)


# Workers


CURIOUS = """
import getpass, json, os, subprocess, sys
class MDAIModel:
    def predict(self, data):
        args = data["args"]
        def may_read(path):
            try:
                open(path, "rb").read(1)
            except PermissionError:
                return False
            return True
        if "leave" in args:
            subprocess.Popen(["setsid", "sleep", "1000"])
        subprocess.run(["sh", "-c", "echo said >/dev/stderr"], check=True)
        for folder in (".", os.environ["HOME"], os.environ["TMPDIR"]):
            open(os.path.join(folder, "written"), "w").close()
        note = {
            "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(), "user": getpass.getuser(),
            "secret": may_read(args["secret"]), "environ": may_read("/proc/%d/environ" % os.getppid()),
            "request": len(data["files"]), "lib": os.path.exists("lib/.mdai/mdai_deploy.py"),
        }
        return [{"type": "NONE", "study_uid": "1", "note": json.dumps(note)}]
"""


@pytest.fixture
def python() -> Path:
    """An interpreter that everybody may use."""
    for candidate in (Path(sys.executable), Path("/usr/bin/python3")):
        with contextlib.suppress(EnvironmentBuildError):
            NOBODY.check_reach([candidate, GUEST / "__main__.py"])
            return candidate
    pytest.skip("no Python on this machine, or not this checkout, can be read by everybody")


@pytest.fixture
def host(place: Path, python: Path) -> Iterator[Hosted]:
    mdai = place / "package" / ".mdai"
    mdai.mkdir(parents=True)
    (mdai / "mdai_deploy.py").write_text(CURIOUS)
    (mdai / "config.yaml").write_text("base_image: py311\n")
    (place / "secret").touch(mode=0o600)
    (place / "runs").mkdir(mode=0o755)
    with Hosted(place / "package", place / "runs", cache=place / "cache", environment=python, user=NOBODY) as host:
        yield host


def test_a_worker_is_that_user_and_reads_nothing_of_the_server_s(host: Hosted, place: Path) -> None:
    seen = host.start().note(secret=str(place / "secret"))
    assert seen == {
        "uids": [NOBODY.uid] * 3,
        "gids": [NOBODY.gid] * 3,
        "groups": [],
        "user": NOBODY.name,
        "secret": False,
        "environ": False,
        "request": 0,
        "lib": True,
    }


def test_its_home_is_its_own_though_the_superuser_s_model_had_it_before(host: Hosted, place: Path) -> None:
    """And what that one downloaded stays."""
    home = model_home(place / "cache", host.package, otherwise=place)
    (home.path / "weights").write_text("of yesterday")
    assert home.path.stat().st_uid == 0
    host.start().note(secret=str(place / "secret"))
    assert {path.stat().st_uid for path in (home.path, home.path / "weights", home.path / "written")} == {NOBODY.uid}


def test_it_is_killed_with_what_it_started_and_starts_anew(place: Path, host: Hosted) -> None:
    """`Hosted` sees to it that no process is left."""
    host.start()
    host.note(secret=str(place / "secret"), leave="yes")
    (worker,) = (worker["pid"] for worker in host.pool.describe()["workers"])
    os.kill(worker, signal.SIGKILL)
    host.until(lambda: host.pool.describe()["workers"][0]["restarts"] == 1, "it starts anew")
    host.until_ready()
    assert host.note(secret=str(place / "secret"))["uids"] == [NOBODY.uid] * 3


DIES = """
import asyncio, os, sys
from pathlib import Path
from tests.hosting import Hosted
from model_loader.worker_user import named_user
place, python = map(Path, sys.argv[1:])
host = Hosted(place / "package", place / "runs", cache=place / "cache", environment=python, user=named_user("12345"))
host.start()
print(host.pool.describe()["workers"][0]["pid"], flush=True)
os.kill(os.getpid(), 9)
"""


def is_gone(pid: int) -> bool:
    """Also where nobody has taken leave of it yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_ends_with_a_server_that_is_killed(host: Hosted, place: Path, python: Path) -> None:
    """The keeper still reads its mark, and its own death signal is set after the change of user, which clears one."""
    killed = subprocess.run(
        [sys.executable, "-c", DIES, place, python], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert killed.returncode == -signal.SIGKILL
    worker = int(killed.stdout)
    await_true(lambda: is_gone(worker), "the worker is gone")


def test_a_package_that_it_cannot_read_is_a_reason(host: Hosted, place: Path) -> None:
    (place / "package").chmod(0o700)
    with pytest.raises(NotReady, match=r"The user 12345 of --worker-user may not read .*mdai_deploy\.py"):
        host.start()
