"""Certificates and keys that are given, and what is said of those that cannot be used."""

import subprocess
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
