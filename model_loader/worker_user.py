"""The user whom workers become where the superuser starts the server.

A worker then cannot read what the server alone may: API keys, the key of its certificate, its memory and environment.
It keeps a user's groups, which may be what opens GPUs to it.
"""

import os
import pwd
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from model_loader.errors import EnvironmentBuildError

#: Prints those of its arguments that cannot be read, or searched.
_UNREADABLE = 'for path; do [ -r "$path" ] && { [ ! -d "$path" ] || [ -x "$path" ]; } || printf "%s\\n" "$path"; done'


class UserError(Exception):
    """Workers cannot become this user; the text says why."""


@dataclass(frozen=True)
class WorkerUser:
    """Whom a worker becomes; `groups` are its further ones."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def own(self, folder: Path) -> None:
        """Give `folder` with everything in it to this user; links are not followed. Raises OSError."""
        if folder.lstat().st_uid == self.uid:
            return
        for _, inner, files, at in os.fwalk(folder, follow_symlinks=False):
            for name in (*inner, *files):
                os.chown(name, self.uid, self.gid, dir_fd=at, follow_symlinks=False)
        os.chown(folder, self.uid, self.gid, follow_symlinks=False)  # last: who was interrupted begins anew

    def let_through(self, folder: Path) -> None:
        """Let this user's group, and nobody else, reach what lies in `folder`, without seeing what does."""
        os.chown(folder, -1, self.gid)
        folder.chmod(0o710)

    def check_reach(self, paths: Iterable[Path]) -> None:
        """Raises EnvironmentBuildError where this user may not read one of `paths`."""
        asked = subprocess.run(
            ["/bin/sh", "-c", _UNREADABLE, "sh", *paths],
            user=self.uid,
            group=self.gid,
            extra_groups=self.groups,
            cwd="/",
            env={},
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        if asked.stdout:
            closed = asked.stdout.splitlines()[0]
            raise EnvironmentBuildError(
                f"The user {self.name} of --worker-user may not read {closed}, which the model needs: it, a folder"
                " above it, or what it links to is closed. Put cache (--cache-dir), package and Python where"
                f" {self.name} may read them, or correct the permissions."
            )


def open_within(cache: Path, path: Path) -> None:
    """Let everybody pass through the folders between `cache` and `path`, whose names nobody is told. Raises OSError.

    What was built there was built in a folder that only the builder could enter.
    """
    cache = cache.resolve()
    for folder in path.parents:
        if cache in folder.parents:
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o011)


def named_user(text: str) -> WorkerUser:
    """The user of this name or number. Raises UserError."""
    if os.geteuid() != 0:
        raise UserError("only the superuser can give workers another user; this server runs as somebody else already.")
    try:
        entry = pwd.getpwuid(int(text)) if text.isascii() and text.isdigit() else pwd.getpwnam(text)
        user = WorkerUser(entry.pw_name, entry.pw_uid, entry.pw_gid, _groups(entry))
    except (KeyError, OverflowError, ValueError):
        if not (text.isascii() and text.isdigit() and int(text) < 2**31):
            raise UserError(f"there is no user {text!r} on this machine. Name one, or a number.") from None
        user = WorkerUser(text, int(text), int(text))
    if user.uid == 0 or 0 in (user.gid, *user.groups):
        raise UserError(f"{text} is the superuser, or in its group; name a user without privileges, as nobody.")
    return user


def _groups(entry: pwd.struct_passwd) -> tuple[int, ...]:
    return tuple(group for group in os.getgrouplist(entry.pw_name, entry.pw_gid) if group != entry.pw_gid)
