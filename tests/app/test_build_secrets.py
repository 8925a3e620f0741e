"""What a build of an image gets to know of this machine's pip."""

from pathlib import Path

from app.build_secrets import write_secrets
from model_loader.pip_settings import read_pip_settings


def machine(tmp_path: Path, config: str, **variables: str) -> dict[str, str]:
    """With this configuration and no other but the machine's own."""
    (tmp_path / "own.conf").write_text(config)
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "own.conf")} | (
        variables
    )


def test_pip_in_the_build_is_configured_as_it_is_here(tmp_path: Path) -> None:
    config = "[global]\nindex-url = https://me:p%40ss@mirror/simple\nno-binary = a,b\ntimeout = 9\npre = yes\n"
    environ = machine(tmp_path, config)
    secrets = write_secrets(tmp_path, environ)
    there = {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path), "PIP_CONFIG_FILE": str(secrets.files["pip"])}
    here, inside = read_pip_settings(environ), read_pip_settings(there)
    assert here.index_url == inside.index_url == "https://me:p%40ss@mirror/simple"
    assert (inside.no_binary, inside.timeout, inside.pre) == (("a", "b"), 9, True)


def test_only_this_user_may_read_them(tmp_path: Path) -> None:
    secrets = write_secrets(tmp_path, machine(tmp_path, "[global]\nproxy = me:secret@proxy\n"))
    assert {path.stat().st_mode & 0o777 for path in secrets.files.values()} == {0o600}


def test_certificates_are_laid_over_debians(tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_text("a certificate")
    secrets = write_secrets(tmp_path, machine(tmp_path, f"[global]\ncert = {tmp_path}/own.pem\n"))
    assert secrets.files["certificates"].read_text() == "a certificate"
    assert "cert = /etc/ssl/certs/ca-certificates.crt" in secrets.files["pip"].read_text()


def test_folders_that_pip_looks_into_are_named_to_be_mounted(tmp_path: Path) -> None:
    (tmp_path / "index/simple").mkdir(parents=True)
    config = f"[global]\nfind-links = {tmp_path} {tmp_path}/missing\nextra-index-url = file://{tmp_path}/index/simple\n"
    assert write_secrets(tmp_path, machine(tmp_path, config)).mounts == (tmp_path, tmp_path / "index")
