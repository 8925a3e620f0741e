"""HTTPS: the certificate and its key, checked before the service listens, and read again when they are renewed."""

import logging
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from app.renewed import Renewed
from app.settings import Settings, SettingsError

_STAYS = "The certificate of before stays in use, for its files hold no new one: %s"
log = logging.getLogger(__name__)

#: What tells a file from the one that was in its place: a link that is set anew leads to another one.
_Identity = tuple[int, int, int, int]


class _Encrypted(Exception):
    pass


def server_tls(settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> ssl.SSLContext | None:
    """What encrypts connections, or None for plain HTTP. Raises SettingsError where the files cannot be used.

    A connection gets the certificate that was in its file at most a second before.
    """
    if settings.tls_cert is None:
        if settings.tls_key is not None:
            raise SettingsError("--tls-key belongs to a certificate: name that with --tls-cert.")
        return None
    return _renewing(settings.tls_cert, settings.tls_key, clock)


def _renewing(cert: Path, key: Path | None, clock: Callable[[], float]) -> ssl.SSLContext:
    """For the listener; each connection gets, as its handshake begins, the newest certificate in its place."""

    def look() -> tuple[tuple[_Identity | None, ...], Callable[[], ssl.SSLContext]]:
        return tuple(_identity(file) for file in (cert, key) if file is not None), partial(_context, cert, key)

    def tell(_: ssl.SSLContext) -> None:
        log.info("The certificate was read again, from %s", cert)

    renewed = Renewed(
        look, tell, log, "The certificate of before stays in use, for its files hold no new one: %s", clock
    )

    def begin(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = renewed.now()

    context = renewed.latest
    context.sni_callback = begin  # called without a name too
    return context


def _identity(file: Path) -> _Identity | None:
    """None where there is no such file, which reading it will explain."""
    try:
        status = file.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _context(cert: Path, key: Path | None) -> ssl.SSLContext:
    options = {"--tls-cert": cert} | ({"--tls-key": key} if key else {})
    for option, file in options.items():
        _check_readable(option, file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_refuse_to_ask)
    except _Encrypted:
        name, file = ("--tls-key", key) if key else ("--tls-cert", cert)
        raise SettingsError(
            f"{name}: the private key in {file} is encrypted, and nobody is there to give the password."
            f" `openssl pkey -in {file} -out FILE` writes it without."
        ) from None
    except ssl.SSLError as error:
        raise SettingsError(_sentence(error, cert, key)) from None
    return context


def _check_readable(option: str, file: Path) -> None:
    try:
        with file.open("rb") as opened:
            opened.read(1)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{option}: {file} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def _refuse_to_ask() -> str:
    raise _Encrypted


def _sentence(error: ssl.SSLError, cert: Path, key: Path | None) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"--tls-key: {key or cert} is not the private key of the certificate in {cert}."
    if error.reason in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        return f"--tls-cert: the certificate in {cert} is too weak to be trusted ({error.reason}). Make a new one."
    where = f"{cert} and {key} are" if key else f"{cert} is"
    return (
        f"--tls-cert: {where} not a certificate and its private key in PEM"
        f"{'' if key else ' (both in one file, or name the key with --tls-key)'}: {error.reason or error}."
    )
