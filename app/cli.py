"""The command line: `mdai-model serve`, `check`, `env`, `build`, `init`.

What is wrong with a command, an archive, its layout or its config ends in exit code 2 and a sentence, before
anything is started. Modules that are slow to import are imported by the command that needs them.
"""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app.about import SERVICE, service_version
from app.options import (
    CacheOption,
    DeviceOption,
    EnvironmentOption,
    ExcludeNewerOption,
    ModelRootOption,
    ModelVersionOption,
    OfflineOption,
    Package,
    PackageIfAny,
    PredictTimeoutOption,
    PythonOption,
    Scope,
    StartupTimeoutOption,
    Text,
    TorchOption,
    WheelhouseOption,
    flag,
    option,
)

WRONG = 2

cli = typer.Typer(
    name="mdai-model",
    help="Serve any MD.ai model package: isolated, fast, observable. Independent of MD.ai.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main() -> None:
    """The console script."""
    _open_missing_streams()
    cli()


def _open_missing_streams() -> None:
    """Where 0, 1 or 2 is closed (`2>&-`), the next file or socket would get its number, and with it what is printed."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.dup(descriptor)
    os.close(descriptor)


def fail(text: str, code: int = WRONG) -> NoReturn:
    """End with `text` for the person at the terminal."""
    print(f"mdai-model: {text}", file=sys.stderr)  # noqa: T201
    raise typer.Exit(code)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{SERVICE} {service_version()}")
        raise typer.Exit


@cli.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Serve any MD.ai model package: isolated, fast, observable. Independent of MD.ai."""


@cli.command(short_help="Serve a package over HTTP.")
def serve(
    package: Package,
    host: Annotated[Text, option("--host", "Address to listen on (default 0.0.0.0: every one).", "ADDRESS")] = None,
    port: Annotated[Text, option("--port", "Port to listen on; 0 takes a free one (default 6324).", "N")] = None,
    workers: Annotated[
        Text, option("--workers", "Requests predicted at once (default: one per GPU, else 1).", "N")
    ] = None,
    spare_workers: Annotated[
        Text,
        option(
            "--spare-workers",
            "Loaded workers in reserve, spread over the devices, so that one that ends costs no load time (default 0)."
            " Each holds as much memory as a worker does that waits, the GPU's too.",
            "N",
        ),
    ] = None,
    device: DeviceOption = None,
    worker_user: Annotated[
        Text, option("--worker-user", "Have the model run as this user, where root starts the server.", "NAME|UID")
    ] = None,
    environment: EnvironmentOption = None,
    python: PythonOption = None,
    exclude_newer: ExcludeNewerOption = None,
    offline: OfflineOption = None,
    wheelhouse: WheelhouseOption = None,
    torch_backend: TorchOption = None,
    startup_timeout: StartupTimeoutOption = None,
    predict_timeout: PredictTimeoutOption = None,
    max_requests_per_worker: Annotated[
        Text,
        option(
            "--max-requests-per-worker",
            "Replace a worker after about so many predictions, by one that is loaded first (default: never).",
            "N",
        ),
    ] = None,
    worker_memory: Annotated[
        Text,
        option(
            "--worker-memory",
            "Replace a worker that holds more than this between two requests; one that holds twice as much while it"
            " predicts is killed (default: no limit).",
            "SIZE",
        ),
    ] = None,
    read_timeout: Annotated[
        Text, option("--read-timeout", "A client may pause its upload this long (default 30s).", "DURATION")
    ] = None,
    min_upload_rate: Annotated[
        Text, option("--min-upload-rate", "Bytes a second that an upload must bring (default 1kB).", "SIZE")
    ] = None,
    on_disconnect: Annotated[
        Text,
        option("--on-disconnect", "What becomes of a predict whose client has left (default finish).", "finish|kill"),
    ] = None,
    grace: Annotated[
        Text, option("--grace", "What runs may finish for this long after SIGTERM (default 30s).", "DURATION")
    ] = None,
    max_body: Annotated[Text, option("--max-body", "Largest request body (default 2GiB).", "SIZE")] = None,
    load_files_quota: Annotated[
        Text, option("--load-files-quota", "Files loaded ahead of their requests (default 4GiB).", "SIZE")
    ] = None,
    load_files_age: Annotated[
        Text, option("--load-files-age", "Those that no request used by then are deleted (default 1h).", "DURATION")
    ] = None,
    max_response: Annotated[
        Text, option("--max-response", "Largest answer of the model (default 2GiB).", "SIZE")
    ] = None,
    max_queue: Annotated[
        Text, option("--max-queue", "Requests that may wait, for each worker (default 64).", "N")
    ] = None,
    max_queue_bytes: Annotated[
        Text,
        option("--max-queue-bytes", "Request bodies in memory at once (default: a quarter of it).", "SIZE"),
    ] = None,
    hide_tracebacks: Annotated[
        bool | None,
        flag(
            "--hide-tracebacks",
            "Answer with an error id in place of the model's traceback and exception text; the log has them.",
        ),
    ] = None,
    api_key_file: Annotated[
        Text,
        option(
            "--api-key-file",
            "Requests need one of the keys in this file (one a line), as `Authorization: Bearer KEY` or"
            " `X-API-Key: KEY`; probes need none.",
            "FILE",
        ),
    ] = None,
    tls_cert: Annotated[
        Text, option("--tls-cert", "Speak HTTPS with this certificate (PEM, the chain included).", "FILE")
    ] = None,
    tls_key: Annotated[
        Text, option("--tls-key", "Its private key (default: in the certificate's file).", "FILE")
    ] = None,
    strict: Annotated[
        bool | None,
        flag("--strict", "Judge outputs exactly as the reference server does."),
    ] = None,
    reload: Annotated[
        bool | None,
        flag(
            "--reload",
            "For authors: start the model anew when a file of the package changes, and build its environment"
            " anew where its requirements do.",
        ),
    ] = None,
    model_root: ModelRootOption = None,
    model_version: ModelVersionOption = None,
    cache_dir: CacheOption = None,
    model_output: Annotated[
        Text, option("--model-output", "Whether the log has what the model prints (default log).", "log|off")
    ] = None,
    log_level: Annotated[
        Text, option("--log-level", "Least level that is logged (default info).", "debug|info|warning|error")
    ] = None,
    log_format: Annotated[
        Text, option("--log-format", "How lines are written (default console).", "console|json")
    ] = None,
) -> None:
    """Serve PACKAGE over HTTP: POST /predict, /healthz, /ready, /info, /docs.

    The service answers at once; the package's environment is built (once) and its model loaded behind it, and
    /ready tells when it can predict.

    Each option is also read from the environment: --startup-timeout from MDAI_MODEL_STARTUP_TIMEOUT, and so on.
    Sizes are written 5MB or 2GiB, durations 30 (seconds), 90s or 10m.

    Try it:

    \b
    curl -F files=@chest.dcm -H 'Accept: application/json' localhost:6324/predict
    """
    options = {name: value for name, value in locals().items() if name != "package"}
    gc.disable()  # until the service runs: modules that load make no garbage, and looking for it takes time
    from app.serving import run_server

    run_server(package, options)


@cli.command(short_help="Build a package's environment and show what is in it.")
def env(
    package: PackageIfAny = None,
    environment: EnvironmentOption = None,
    python: PythonOption = None,
    lock: Annotated[
        bool,
        flag(
            "--lock",
            "Write .mdai/requirements.lock: exact versions and hashes of everything, from now on installed"
            " instead of requirements.txt. For an archive it is printed.",
        ),
    ] = False,
    wheelhouse: Annotated[
        Text,
        option(
            "--wheelhouse",
            "Put a wheel of everything in the environment into this folder, for `serve --offline --wheelhouse DIR`"
            " where no network is. With --offline, install from it.",
            "DIR",
        ),
    ] = None,
    offline: OfflineOption = None,
    exclude_newer: ExcludeNewerOption = None,
    device: Annotated[
        Text,
        option("--device", "What the environment is for; gpu builds it for one that is not here, too.", "auto|cpu|gpu"),
    ] = None,
    torch_backend: TorchOption = None,
    model_root: ModelRootOption = None,
    model_version: ModelVersionOption = None,
    cache_dir: CacheOption = None,
    list_cache: Annotated[
        bool,
        flag("--list", "List the cache: environments, homes of models; size, last use."),
    ] = False,
    prune: Annotated[
        bool,
        flag(
            "--prune",
            "Delete from the cache what was not used for a while: environments, and homes of models with what"
            " these have downloaded. What a running server uses stays.",
        ),
    ] = False,
    unused_for: Annotated[
        Text, option("--unused-for", "With --prune: for how long (default 30d; 12h; 0d for all).", "AGE")
    ] = None,
) -> None:
    """Build the environment that PACKAGE's model runs in, or find it in the cache, and show what is in it.

    \b
    mdai-model env PACKAGE                        what serve would install
    mdai-model env PACKAGE --lock                 from now on exactly this
    mdai-model env PACKAGE --wheelhouse DIR       carry it where no network is
    mdai-model env --list                         what the cache holds
    mdai-model env --prune --unused-for 7d        make room in it
    """
    from app.environments import list_cached, prune_cache, show_environment

    if list_cache and prune:
        fail("--list and --prune are two commands; give one of them.")
    if unused_for is not None and not prune:
        fail("--unused-for says what --prune deletes; give both.")
    if package is not None and (list_cache or prune):
        fail("--list and --prune are about the whole cache; leave PACKAGE out.")
    if prune:
        prune_cache({"cache_dir": cache_dir}, unused_for or "30d")
        return
    if list_cache:
        list_cached({"cache_dir": cache_dir})
        return
    if package is None:
        fail("which package? `mdai-model env PACKAGE`, or --list or --prune for the cache.")
    show_environment(
        package,
        {
            "environment": environment,
            "python": python,
            "exclude_newer": exclude_newer,
            "device": device,
            "torch_backend": torch_backend,
            "offline": offline,
            "wheelhouse": wheelhouse if offline else None,
            "model_root": model_root,
            "model_version": model_version,
            "cache_dir": cache_dir,
        },
        lock=lock,
        wheelhouse=None if offline or wheelhouse is None else Path(wheelhouse),
    )


@cli.command(short_help="Find out what is wrong with a package, and why.")
def check(
    package: PackageIfAny = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            "--input", help="Predict on this file, or on those in this folder, too; may be repeated.", metavar="PATH"
        ),
    ] = None,
    scope: Annotated[
        Scope | None,
        typer.Option("--scope", help="What the model gets at once; an export of the platform says it itself."),
    ] = None,
    label_classes: Annotated[
        Path | None,
        typer.Option(
            "--label-classes",
            help="The classes that outputs may name: a JSON file with a list as in requests, or a model.json.",
            metavar="FILE",
        ),
    ] = None,
    run: Annotated[bool, typer.Option("--run/--no-run", help="Build the environment and run the model, too.")] = True,
    fix: Annotated[
        bool,
        flag("--fix", "Correct what is safe: keys and names in the configuration, junk, a lock for open requirements."),
    ] = False,
    json: Annotated[bool, flag("--json", "Print JSON, for programs.")] = False,
    explain: Annotated[Text, option("--explain", "Say what a code stands for, and nothing else.", "CODE")] = None,
    environment: EnvironmentOption = None,
    python: PythonOption = None,
    exclude_newer: ExcludeNewerOption = None,
    offline: OfflineOption = None,
    wheelhouse: WheelhouseOption = None,
    torch_backend: TorchOption = None,
    device: DeviceOption = None,
    startup_timeout: StartupTimeoutOption = None,
    predict_timeout: PredictTimeoutOption = None,
    model_root: ModelRootOption = None,
    model_version: ModelVersionOption = None,
    cache_dir: CacheOption = None,
) -> None:
    """Examine PACKAGE: first without running anything of it, then by running its model.

    Finds what would fail later or elsewhere: in the layout, the configuration, the requirements, the code, the weights,
    and in what predict answers to DICOM made for the purpose and to every --input. Each finding says where, why and
    what to do; its code has a page, shown by --explain.

    Exit code 0: nothing, or notes only; 1: warnings; 2: errors.

    \b
    mdai-model check my-model                       everything
    mdai-model check my-model --input chest.dcm     and on a real image
    mdai-model check my-model --no-run              in a second, without an environment
    mdai-model check my-model --fix                 correct what is safe
    mdai-model check --explain M011                 what a code means
    """
    given = locals()
    try:
        from app.checking import Wishes, explained, inputs_at, label_classes_in
        from app.checking import check as examine_package
    except ModuleNotFoundError as error:  # an image of the service leaves them out
        if error.name not in ("numpy", "pydicom"):
            raise
        fail(f"check makes images with {error.name}, which is not installed here: run it where all of the server is.")
    from app.settings import Settings

    options = {name: value for name, value in given.items() if name in Settings.model_fields}
    if explain is not None:
        typer.echo(explained(explain), nl=False)
        return
    if package is None:
        fail("which package? `mdai-model check PACKAGE`, or --explain CODE.")
    wishes = Wishes(
        inputs=inputs_at(inputs or ()),
        scope=scope,
        label_classes=label_classes_in(label_classes) if label_classes else (),
        runs=run,
        repairs=fix,
        as_json=json,
    )
    raise typer.Exit(examine_package(package, options, wishes))


@cli.command(short_help="Bake a package and its environment into a container image.")
def build(
    package: Package,
    engine_options: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- OPTION", help="Handed on to the engine.", show_default=False),
    ] = None,
    tag: Annotated[Text, typer.Option("-t", "--tag", metavar="NAME", help="What the image is called.")] = None,
    engine: Annotated[
        Text, option("--engine", "What builds it (default: the first that is here).", "docker|podman|buildah")
    ] = None,
    server_image: Annotated[
        Text,
        option("--from", "The server's image (default: mdai-model-server:cpu, or :gpu as device_type says).", "IMAGE"),
    ] = None,
    python_image: Annotated[
        Text,
        option(
            "--python-image",
            "Take the model's Python out of this image, as python:3.9-slim, instead of having uv download it (default"
            " for Python 3.7: python:3.7-slim).",
            "IMAGE",
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--print", help="Show the Dockerfile, and build nothing.")] = False,
    context: Annotated[
        Path | None,
        option("--context", "Write the Dockerfile and all that it needs into this folder, and build nothing.", "DIR"),
    ] = None,
    python: PythonOption = None,
    exclude_newer: ExcludeNewerOption = None,
    torch_backend: TorchOption = None,
    device: DeviceOption = None,
    model_root: ModelRootOption = None,
    model_version: ModelVersionOption = None,
) -> None:
    """Bake PACKAGE and its environment into an image that starts without a network and without building anything.

    \b
    mdai-model build PACKAGE -t hospital/model:1.2
    mdai-model build PACKAGE -t hospital/model:1.2 -- --network host
    mdai-model build PACKAGE --context DIR        for an engine that is elsewhere
    """
    from app.images import build_image

    build_image(
        package,
        {
            "python": python,
            "exclude_newer": exclude_newer,
            "torch_backend": torch_backend,
            "device": device,
            "model_root": model_root,
            "model_version": model_version,
        },
        tag=tag,
        engine=engine,
        server_image=server_image,
        python_image=python_image,
        show=show,
        context=context,
        engine_options=engine_options or (),
    )


@cli.command(short_help="Write a package to start from.")
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it; made if missing.")],
) -> None:
    """Write a commented package that runs as it is into DIR."""
    from app.scaffold import write_package

    try:
        written = write_package(folder)
    except (FileExistsError, NotADirectoryError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{folder} cannot be written: {error.strerror}.")
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(
        f"\nServe it:  mdai-model serve {folder}"
        "\nAsk it:    curl -F files=@image.dcm -H 'Accept: application/json' localhost:6324/predict"
    )
