"""This machine's pip configuration and certificates, for a build of an image and not for the image.

An engine lays files over one step of a build, by the names `pip` and `certificates`; what pip's configuration names
in the file system has to be mounted beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from model_loader.pip_settings import PipSettings, read_pip_settings

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
"""Where Debian and its kin keep their certificates, in the image too."""


@dataclass(frozen=True)
class BuildSecrets:
    """Files by the names under which a Dockerfile asks for them, and folders or files that these speak of."""

    files: Mapping[str, Path]
    mounts: tuple[Path, ...] = ()


def write_secrets(folder: Path, environ: Mapping[str, str]) -> BuildSecrets:
    """Write them into `folder`; nothing where this machine has no configuration of its own.

    Raises EnvironmentBuildError where pip's configuration has no meaning, OSError where a file cannot be read.
    """
    settings = read_pip_settings(environ)
    certificates = settings.cert or environ.get("SSL_CERT_FILE")
    options = _options(settings)
    files: dict[str, Path] = {}
    if certificates and Path(certificates).is_file():
        options["cert"] = str(BUNDLE)
        files["certificates"] = _written(folder / "certificates", Path(certificates).read_bytes())
    if options:
        lines = ["[global]", *(f"{name} = {value}" for name, value in options.items()), ""]
        files["pip"] = _written(folder / "pip.conf", "\n".join(lines).encode())
    return BuildSecrets(files, _mounts(settings))


def _options(settings: PipSettings) -> dict[str, str]:
    options = {
        "index-url": settings.index_url,
        "extra-index-url": " ".join(settings.extra_index_urls),
        "find-links": " ".join(settings.find_links),
        "no-index": "yes" if settings.no_index else None,
        "constraint": " ".join(settings.constraints),
        "trusted-host": " ".join(settings.trusted_hosts),
        "proxy": settings.proxy,
        "timeout": settings.timeout and str(settings.timeout),
        "retries": settings.retries and str(settings.retries),
        "pre": "yes" if settings.pre else None,
        "require-hashes": "yes" if settings.require_hashes else None,
        "only-binary": ",".join(settings.only_binary),
        "no-binary": ",".join(settings.no_binary),
    }
    return {name: value for name, value in options.items() if value}


def _mounts(settings: PipSettings) -> tuple[Path, ...]:
    indexes = [*filter(None, [settings.index_url]), *settings.extra_index_urls]
    named = [*indexes, *settings.find_links, *settings.constraints]
    paths = {Path(unquote(urlsplit(name).path)) for name in named if urlsplit(name).scheme in ("", "file")}
    # An index's folder links to a neighbour with its files.
    return tuple(sorted({path.parent if path.name == "simple" else path for path in paths if path.exists()}))


def _written(path: Path, content: bytes) -> Path:
    """Only this user may read it: an index's address may hold a password."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(content)
    return path
