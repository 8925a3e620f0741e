"""Certificates and keys: what is said of those that cannot be used, and how they are renewed while the service runs."""

import logging
import ssl
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from app.settings import Settings, SettingsError
from app.tls import server_tls
from tests.certificates import Certificate, make_certificate


@pytest.fixture
def made(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


def complaint(cert: Path | None, key: Path | None = None) -> str:
    with pytest.raises(SettingsError) as refused:
        server_tls(Settings(tls_cert=cert, tls_key=key))
    return str(refused.value)


def test_without_a_certificate_there_is_no_tls() -> None:
    assert server_tls(Settings()) is None


def test_the_key_may_lie_in_the_certificate_s_file(made: Certificate, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(made.cert.read_bytes() + made.key.read_bytes())
    assert server_tls(Settings(tls_cert=both)) is not None
    assert server_tls(Settings(tls_cert=made.cert, tls_key=made.key)) is not None


def test_a_key_without_a_certificate_is_no_plain_http(made: Certificate) -> None:
    assert complaint(None, made.key) == "--tls-key belongs to a certificate: name that with --tls-cert."


def test_files_that_cannot_be_read_are_named(made: Certificate, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert complaint(nowhere) == f"--tls-cert: {nowhere} cannot be read: No such file or directory."
    assert complaint(made.cert, nowhere) == f"--tls-key: {nowhere} cannot be read: No such file or directory."
    assert complaint(tmp_path) == f"--tls-cert: {tmp_path} cannot be read: Is a directory."


def test_the_key_of_another_certificate_is_told(made: Certificate, tmp_path: Path) -> None:
    other = make_certificate(tmp_path, "other")
    expected = f"--tls-key: {other.key} is not the private key of the certificate in {made.cert}."
    assert complaint(made.cert, other.key) == expected


def test_a_certificate_without_its_key_says_where_one_may_lie(made: Certificate) -> None:
    assert "both in one file, or name the key with --tls-key" in complaint(made.cert)


@pytest.mark.parametrize("content", [b"", b"\x30\x82\x01\x0a\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_pem_is_refused(made: Certificate, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert "certificate and its private key in PEM" in complaint(file, made.key)
    assert "certificate and its private key in PEM" in complaint(made.cert, file)


def test_an_encrypted_key_is_said_to_be_one_and_nobody_is_asked(made: Certificate, tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted.key"
    command = ["openssl", "pkey", "-in", made.key, "-aes256", "-passout", "pass:hunter2", "-out", encrypted]
    subprocess.run(command, check=True, capture_output=True)
    text = complaint(made.cert, encrypted)
    assert f"the private key in {encrypted} is encrypted" in text and "openssl pkey -in" in text


class Clock:
    """Time that the test lets pass."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def greeted_with(context: ssl.SSLContext, name: str | None = "localhost") -> str:
    """The certificate, in PEM, that a client is shown which connects now and names `name`."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(back, there, server_hostname=name)
    server = context.wrap_bio(there, back, server_side=True)
    for _ in range(3):
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown)


def renewing(made: Certificate, clock: Callable[[], float]) -> ssl.SSLContext:
    context = server_tls(Settings(tls_cert=made.cert, tls_key=made.key), clock=clock)
    assert context is not None
    return context


@pytest.mark.parametrize("name", ["localhost", None])
def test_a_renewed_certificate_is_shown_to_who_connects_a_second_later(
    made: Certificate, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str | None
) -> None:
    clock, old = Clock(), made.cert.read_text()
    context, new = renewing(made, clock), make_certificate(tmp_path, "new")
    with caplog.at_level(logging.INFO):
        assert greeted_with(context, name) == old
        for file, renewed in zip(made, new, strict=True):
            renewed.rename(file)
        assert greeted_with(context, name) == old, "files are not looked at for every connection"
        clock.now = 1.0
        assert greeted_with(context, name) == made.cert.read_text() != old
        clock.now = 2.0
        assert greeted_with(context, name) == made.cert.read_text()
    assert [record.message for record in caplog.records] == [f"The certificate was read again, from {made.cert}"]


def test_links_that_are_set_anew_are_a_renewal(tmp_path: Path) -> None:
    """So certbot does it, and so secrets reach a container of Kubernetes."""
    clock, live = Clock(), Certificate(tmp_path / "live.pem", tmp_path / "live.key")
    for number in ("1", "2"):
        made = make_certificate(tmp_path, number)
        for link, file in zip(live, made, strict=True):
            (tmp_path / "link").symlink_to(file)
            (tmp_path / "link").rename(link)
        if number == "1":
            context = renewing(live, clock)
    clock.now = 1.0
    assert greeted_with(context) == (tmp_path / "2.pem").read_text()


@pytest.mark.parametrize("damage", ["gone", "no pem", "only the certificate", "encrypted"])
def test_files_that_cannot_be_used_leave_the_certificate_of_before_and_are_told_once(
    made: Certificate, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    clock, old = Clock(), made.cert.read_text()
    context, new = renewing(made, clock), make_certificate(tmp_path, "new")
    if damage == "gone":
        made.cert.unlink()
    elif damage == "no pem":
        made.key.write_text("hunter2")
    elif damage == "encrypted":
        command = ["openssl", "pkey", "-in", new.key, "-aes256", "-passout", "pass:hunter2", "-out", made.key]
        subprocess.run(command, check=True, capture_output=True)
    else:
        made.cert.write_text(new.cert.read_text())
    for clock.now in (1.0, 2.0, 3.0):
        assert greeted_with(context) == old
    (record,) = caplog.records
    assert record.levelname == "ERROR" and "certificate of before stays in use" in record.message
    assert "hunter2" not in record.message
    for file, renewed in zip(made, new, strict=True):
        file.write_bytes(renewed.read_bytes())
    clock.now = 4.0
    assert greeted_with(context) == new.cert.read_text()
