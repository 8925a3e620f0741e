"""From an opened package to workers that can be started: its environment, its folders, what each worker is told."""

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from model_loader.compiled_guest import CompiledGuest, compiled_guest
from model_loader.devices import Device, DevicePlan
from model_loader.environment import EnvironmentRequest, ModelEnvironment, build_environment
from model_loader.errors import EnvironmentBuildError
from model_loader.home import ModelHome, model_home
from model_loader.package import ModelPackage
from model_loader.pool import Launch, Prepare
from model_loader.process import WorkerPlan
from model_loader.uv_process import Cancellation
from model_loader.workdir import RunFolder, worker_environment
from model_loader.worker_user import WorkerUser, open_within

#: A worker's folder is its own: the next one in its place may load before it has ended.
_ordinals = itertools.count()
log = logging.getLogger(__name__)


def preparation(
    package: ModelPackage,
    request: EnvironmentRequest,
    choose_devices: Callable[[], DevicePlan],
    run: RunFolder,
    cache: Path,
    environ: Mapping[str, str] = os.environ,
    *,
    home_of: ModelPackage | None = None,
    user: WorkerUser | None = None,
) -> Prepare:
    """What a pool calls to get its launch: builds the environment on a thread, and stops building when cancelled.

    `choose_devices` is called on a thread, too: a driver that wakes its GPUs first takes seconds. So is what reads the
    package for its digest: there may be gigabytes of weights. The model gets the HOME of `home_of` where that is given:
    of the package as it was before somebody began to change it. It raises EnvironmentBuildError, and whatever
    `choose_devices` raises.
    """

    async def prepare(progress: Callable[[str], None]) -> Launch:
        cancellation = Cancellation()
        build = partial(
            build_environment,
            package,
            cache=cache,
            progress=progress,
            environ=environ,
            cancellation=cancellation,
        )
        try:
            devices = await asyncio.to_thread(choose_devices)
            environment, home = await asyncio.gather(
                asyncio.to_thread(build, replace(request, gpu=devices.on_gpu)),
                asyncio.to_thread(model_home, cache, home_of or package, otherwise=run.path),
            )
            compiled = partial(compiled_guest, environment.python, environment.version)
            guest = await asyncio.to_thread(compiled, cache=cache, cancellation=cancellation)
        except BaseException:
            cancellation.cancel()
            raise
        if user is not None:
            await asyncio.to_thread(_open_to, user, package, environment, guest, home, run, cache)
        for warning in devices.warnings:
            log.warning("%s", warning)
        plans = tuple(
            partial(_plan, package, environment, guest, device, run, index, home, environ, user)
            for index, device in enumerate(devices.devices)
        )
        return Launch(plans, _facts(environment, devices))

    return prepare


def _plan(
    package: ModelPackage,
    environment: ModelEnvironment,
    guest: CompiledGuest,
    device: Device,
    run: RunFolder,
    index: int,
    home: ModelHome,
    environ: Mapping[str, str],
    user: WorkerUser | None,
) -> WorkerPlan:
    folder = run.worker_folder(f"w{index}-{next(_ordinals)}", package.root)
    variables = dict(package.config.env) | dict(device.environment)
    if user is not None:
        user.own(folder.path)
        variables = {"USER": user.name, "LOGNAME": user.name} | variables
    return WorkerPlan(
        python=environment.python,
        runtime=environment.runtime,
        hidden=environment.hidden,
        root=package.root,
        import_folders=package.import_folders,
        label_classes=package.label_classes,
        working_directory=folder.path,
        environment=worker_environment(environ, environment.python, home.path, folder.temp, variables),
        device=device,
        leave=folder.remove,
        user=user,
        guest=guest.to_start(),
    )


def _open_to(
    user: WorkerUser,
    package: ModelPackage,
    environment: ModelEnvironment,
    guest: CompiledGuest,
    home: ModelHome,
    run: RunFolder,
    cache: Path,
) -> None:
    """Let `user` reach what its worker needs. Raises EnvironmentBuildError where something else bars it."""
    try:
        user.let_through(run.path)
        user.own(home.path)
        deploy = package.root / ".mdai" / "mdai_deploy.py"
        built = [
            path for path in (environment.python, environment.runtime, guest.folder, home.path) if path is not None
        ]
        for path in built:
            open_within(cache, path)
        user.check_reach([*built, guest.folder / "__main__.py", deploy])
    except OSError as error:
        raise EnvironmentBuildError(f"The model cannot run as {user.name}: {error}.") from error


def _facts(environment: ModelEnvironment, devices: DevicePlan) -> dict[str, object]:
    return {
        "environment": {
            "description": environment.description,
            "python": environment.version,
            "packages": dict(environment.packages),
        },
        "devices": [device.name for device in devices.devices],
    }
