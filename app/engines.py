"""Docker, Podman or Buildah: which of them is here, and what it is told."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.build_secrets import BuildSecrets

ENGINES = ("docker", "podman", "buildah")
PROBE_SECONDS = 20.0

# Without this format Podman and Buildah drop the health check, and Buildah alone keeps no layers to build on.
_BUILD = {
    "docker": ("build",),
    "podman": ("build", "--layers", "--format", "docker"),
    "buildah": ("build", "--layers", "--format", "docker"),
}


class NoEngine(Exception):
    """No engine is here that works; the text says what was tried."""


def find_engine(wanted: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The name of the first engine that is on PATH and answers, or of the wanted one. Raises NoEngine."""
    if wanted is not None and wanted not in ENGINES:
        raise NoEngine(f"--engine: {wanted!r} is not one of {', '.join(ENGINES)}.")
    obstacles = []
    for name in (wanted,) if wanted else ENGINES:
        program = shutil.which(name, path=environ.get("PATH", os.defpath))
        obstacle = "is not on PATH" if program is None else _obstacle(program, environ)
        if obstacle is None:
            return name
        obstacles.append(f"{name} {obstacle}")
    raise NoEngine(
        f"no engine here can build an image: {'; '.join(obstacles)}. Install one, or take the Dockerfile elsewhere: "
        "`--context DIR` writes it with all that it needs, `--print` shows it."
    )


def _obstacle(program: str, environ: Mapping[str, str]) -> str | None:
    """Why an engine does not work: Docker's client, for one, may be here without anything to talk to."""
    try:
        asked = subprocess.run(
            [program, "version"], env=dict(environ), capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run ({error})"
    if asked.returncode == 0:
        return None
    said = (asked.stderr.strip() or asked.stdout.strip() or f"exit code {asked.returncode}").splitlines()[-1]
    return f"does not work ({said})"


def build_command(
    engine: str, context: Path, tag: str, secrets: BuildSecrets, more: Sequence[str] = ()
) -> tuple[list[str], list[Path]]:
    """What to run, and the paths of this machine that this engine gives a build no sight of."""
    command = [engine, *_BUILD[engine], "--file", str(context / "Dockerfile"), "--tag", tag]
    for name, path in secrets.files.items():
        command += ["--secret", f"id={name},src={path}"]
    unseen = list(secrets.mounts) if engine == "docker" else []
    if not unseen:
        for path in secrets.mounts:
            command += ["--volume", f"{path}:{path}:ro"]
    return [*command, *more, str(context)], unseen


def run_engine(command: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Run it to its end with this terminal as its own; its exit code. What ends this process ends it too."""
    # Docker before 23 builds without BuildKit, and so without secrets, unless it is told to.
    with subprocess.Popen(command, env={"DOCKER_BUILDKIT": "1", **environ}) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            raise
