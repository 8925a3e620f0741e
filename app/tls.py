"""HTTPS: the certificate and its key, checked before the service listens."""

import ssl
from pathlib import Path

from app.settings import Settings, SettingsError


class _Encrypted(Exception):
    pass


def server_tls(settings: Settings) -> ssl.SSLContext | None:
    """What encrypts connections, or None for plain HTTP. Raises SettingsError where the files cannot be used."""
    if settings.tls_cert is None:
        if settings.tls_key is not None:
            raise SettingsError("--tls-key belongs to a certificate: name that with --tls-cert.")
        return None
    return _context(settings.tls_cert, settings.tls_key)


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
