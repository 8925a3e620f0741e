"""The machine's pip configuration, handed on to uv, which does not read it.

Hospitals keep their package mirrors, certificates and proxies in pip's configuration: what works with
``pip install`` there has to work here. Files, sections and environment variables are read with pip's own
precedence (https://pip.pypa.io/en/stable/topics/configuration/). A ``UV_…`` variable that somebody set wins
over what pip says about the same thing; uv reads it itself.
"""

import configparser
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model_loader.errors import EnvironmentBuildError

_TRUE = {"y", "yes", "t", "true", "on", "1"}
_FALSE = {"n", "no", "f", "false", "off", "0"}


@dataclass(frozen=True)
class PipSettings:
    """What pip would go by; None, False and empty where nothing is configured. Paths are absolute."""

    index_url: str | None = field(default=None, repr=False)
    extra_index_urls: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = field(default=(), repr=False)
    no_index: bool = False
    constraints: tuple[str, ...] = field(default=(), repr=False)
    cert: str | None = None
    client_cert: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    proxy: str | None = field(default=None, repr=False)
    timeout: int | None = None
    retries: int | None = None
    keyring: bool = False
    pre: bool = False
    require_hashes: bool = False
    only_binary: tuple[str, ...] = ()
    no_binary: tuple[str, ...] = ()


def read_pip_settings(
    environ: Mapping[str, str],
    *,
    etc: Path = Path("/etc"),
    prefix: Path = Path(sys.prefix),
) -> PipSettings:
    """Read what ``pip install`` would go by.

    Parameters:
        environ: ``PIP_*``, ``XDG_CONFIG_*``, ``HOME`` and ``VIRTUAL_ENV`` count
        etc: where the machine-wide files lie
        prefix: the environment this server runs in, which may have a ``pip.conf`` of its own

    Raises:
        EnvironmentBuildError: a configuration file or value that pip, too, would stop at.
    """
    options = _options(environ, etc, prefix)

    def flag(name: str) -> bool:
        value = options.get(name, "no").lower()
        if value not in _TRUE | _FALSE:
            raise _meaningless(name, value, "neither yes nor no")
        return value in _TRUE

    def number(name: str) -> int | None:
        value = options.get(name)
        try:
            return None if value is None else math.ceil(float(value))
        except (ValueError, OverflowError):
            raise _meaningless(name, str(value), "not a number") from None

    def paths(name: str) -> tuple[str, ...]:
        return tuple(_located(value, environ) for value in options.get(name, "").split())

    def path(name: str) -> str | None:
        return _located(options[name], environ) if name in options else None

    def packages(name: str) -> tuple[str, ...]:
        return tuple(options.get(name, "").replace(",", " ").split())

    index_url = options.get("index-url", options.get("pypi-url"))
    return PipSettings(
        index_url=index_url and _located(index_url, environ),
        extra_index_urls=paths("extra-index-url"),
        find_links=paths("find-links"),
        no_index=flag("no-index"),
        constraints=paths("constraint"),
        cert=path("cert"),
        client_cert=path("client-cert"),
        trusted_hosts=tuple(options.get("trusted-host", "").split()),
        proxy=options.get("proxy"),
        timeout=number("timeout" if "timeout" in options else "default-timeout"),
        retries=number("retries"),
        keyring=options.get("keyring-provider") == "subprocess",
        pre=flag("pre"),
        require_hashes=flag("require-hashes"),
        only_binary=packages("only-binary"),
        no_binary=packages("no-binary"),
    )


def uv_environment(settings: PipSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` with the variables that make uv go by the settings.

    They are variables and not arguments, because everybody on a machine can read a process's arguments and an
    index address may hold a password.
    """
    result = dict(environ)

    def unless_set(names: tuple[str, ...], value: str | int | None) -> None:
        if value not in (None, "") and not any(environ.get(name) for name in names):
            result[names[0]] = str(value)

    unless_set(("UV_DEFAULT_INDEX", "UV_INDEX_URL"), settings.index_url)
    unless_set(("UV_INDEX", "UV_EXTRA_INDEX_URL"), " ".join(settings.extra_index_urls))
    unless_set(("UV_FIND_LINKS",), ",".join(settings.find_links))
    unless_set(("UV_CONSTRAINT",), " ".join(settings.constraints))
    unless_set(("UV_INSECURE_HOST",), " ".join(settings.trusted_hosts))
    unless_set(("UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT", "HTTP_TIMEOUT"), settings.timeout)
    unless_set(("UV_HTTP_RETRIES",), settings.retries)
    unless_set(("UV_KEYRING_PROVIDER",), "subprocess" if settings.keyring else None)
    unless_set(("UV_PRERELEASE",), "allow" if settings.pre else None)
    # pip takes the best version from all indexes together, uv by default from the first that has the name.
    unless_set(("UV_INDEX_STRATEGY",), "unsafe-best-match")
    unless_set(("SSL_CLIENT_CERT",), settings.client_cert)
    _trust(result, settings.cert)
    if settings.proxy:
        proxy = settings.proxy if "://" in settings.proxy else f"http://{settings.proxy}"
        result |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), proxy)
        result |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), proxy)
    return result


def uv_arguments(settings: PipSettings, environ: Mapping[str, str]) -> list[str]:
    """Return the arguments of ``uv pip install`` for what has no variable."""
    arguments = []
    indexes = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
    if settings.no_index and not any(environ.get(name) for name in indexes):
        arguments.append("--no-index")
    for name in settings.only_binary:
        arguments += ["--only-binary", name]
    for name in settings.no_binary:
        arguments += ["--no-binary", name]
    return arguments


def _meaningless(name: str, value: str, reason: str) -> EnvironmentBuildError:
    return EnvironmentBuildError(
        f"pip's configuration sets {name} to {value!r}, which is {reason}. Correct it there "
        "(`pip config debug` shows where it comes from)."
    )


def _trust(result: dict[str, str], cert: str | None) -> None:
    """Point uv at the certificates that pip believes: configured ones, else those that requests finds."""
    if cert is None and not (result.get("SSL_CERT_FILE") or result.get("SSL_CERT_DIR")):
        cert = result.get("REQUESTS_CA_BUNDLE") or result.get("CURL_CA_BUNDLE") or None
    if cert is not None:
        result["SSL_CERT_DIR" if Path(cert).is_dir() else "SSL_CERT_FILE"] = cert


def _options(environ: Mapping[str, str], etc: Path, prefix: Path) -> dict[str, str]:
    """Merge all sources by name; within them [install] beats [global], and variables beat both."""
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for file in _files(environ, etc, prefix):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise EnvironmentBuildError(
                f"pip's configuration file {file} cannot be read: {' '.join(str(error).split())}. "
                "Correct it, or name another one in PIP_CONFIG_FILE."
            ) from error
        for section in sections.keys() & set(parser.sections()):
            sections[section].update((_plain(name), value) for name, value in parser.items(section))
    variables = {_plain(name[4:]): value for name, value in environ.items() if name.startswith("PIP_")}
    options: dict[str, str] = {}
    for source in (sections["global"], sections["install"], variables):
        options.update((name, value.strip()) for name, value in source.items() if value and value.strip())
    return options


def _files(environ: Mapping[str, str], etc: Path, prefix: Path) -> list[Path]:
    """Return pip's configuration files, the later ones over the earlier ones."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path(environ.get("HOME") or Path.home())
    machine_folders = [Path(entry) for entry in environ.get("XDG_CONFIG_DIRS", "").split(os.pathsep) if entry]
    files = [folder / "pip" / "pip.conf" for folder in machine_folders or [etc / "xdg"]]
    files.append(etc / "pip.conf")
    if not (named and Path(named).exists()):
        own_folder = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        files += [home / ".pip" / "pip.conf", own_folder / "pip" / "pip.conf"]
    files.append(prefix / "pip.conf")
    if environ.get("VIRTUAL_ENV"):
        files.append(Path(environ["VIRTUAL_ENV"]) / "pip.conf")
    if named:
        files.append(Path(named))
    return files


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def _located(value: str, environ: Mapping[str, str]) -> str:
    """Make a path absolute, as uv runs in another folder; leave an address alone."""
    if "://" in value or value.startswith("file:"):
        return value
    if value.startswith("~"):
        value = (environ.get("HOME") or str(Path.home())) + value[1:] if value[1:2] in ("", "/") else value
    return str(Path(value).absolute())
