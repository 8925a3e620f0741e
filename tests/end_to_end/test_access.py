"""Who reaches the service and how: API keys and TLS, with the real command."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import msgpack
import psutil
import pytest
import yaml

from tests.certificates import make_certificate
from tests.end_to_end.conftest import COMMAND

REPOSITORY = Path(__file__).parents[2]
Serve = Callable[..., Any]
Write = Callable[..., Path]

KEY, NEXT = "today-" + "k" * 26, "tomorrow-" + "k" * 23
# Says what of the server's it finds in its environment.
CURIOUS = """
import os
class MDAIModel:
    def predict(self, data):
        found = [name for name, value in os.environ.items() if "hunter2" in value or "kkkk" in value]
        return [{"type": "NONE", "study_uid": "1.2", "note": " ".join(found) or "nothing"}]
"""
REQUEST = msgpack.packb({"files": [{"content": b"x" * 10, "content_type": "application/dicom"}]})
MSGPACK = {"Content-Type": "application/msgpack"}


def predict(service: Any, key: str) -> Any:
    return service.post(content=REQUEST, headers=MSGPACK | {"Authorization": f"Bearer {key}"})


def test_keys_are_demanded_rotated_without_a_restart_and_never_shown(
    serve: Serve, package: Write, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    file.chmod(0o644)
    service = serve(package(CURIOUS), "--environment", "current", "--api-key-file", str(file)).wait_until_ready()
    service.wait_for_line(r"Every user of this machine may read the API keys in .*: `chmod 600 ")
    assert service.get("/healthz").status_code == service.get("/ready").status_code == 200
    assert service.post(content=REQUEST, headers=MSGPACK).status_code == 401
    assert service.post(content=b"x" * 8_000_000, headers={}).status_code == 401, "an answer overtakes a large body"
    assert predict(service, NEXT).status_code == 401
    assert predict(service, KEY).status_code == 200
    file.write_text(f"{KEY}\n{NEXT}\n")
    while predict(service, NEXT).status_code == 401:  # within a second
        pass
    assert predict(service, KEY).status_code == 200
    file.write_text(NEXT)
    while predict(service, KEY).status_code == 200:
        pass
    titles = [" ".join(process.cmdline()) for process in [psutil.Process(service.process.pid), *service.workers()]]
    assert service.stop() == 0
    assert KEY not in service.output + str(titles) and NEXT not in service.output + str(titles)


def test_the_model_finds_no_secret_of_the_server_s(
    serve: Serve, package: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_OWN_TOKEN", "hunter2, which the operator wants it to have")
    for name in ("PIP_EXTRA_INDEX_URL", "UV_INDEX_OURS_PASSWORD"):
        monkeypatch.setenv(name, "https://user:hunter2@localhost/simple")
    service = serve(package(CURIOUS), "--environment", "current", environ={"MDAI_MODEL_API_KEYS": f"{KEY} {NEXT}"})
    service.wait_until_ready()
    answer = predict(service, NEXT)
    assert msgpack.unpackb(answer.content)[0]["note"] == "MODELS_OWN_TOKEN"


def health_checks() -> dict[str, list[str]]:
    """What images and docker-compose.yml run to ask for health, without the interpreter."""
    found = {}
    for name in ("Dockerfile.cpu", "Dockerfile.gpu"):
        (command,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", (REPOSITORY / name).read_text(), re.MULTILINE)
        found[name] = ["CMD", *json.loads(command)]
    composed = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    found["docker-compose.yml"] = composed["services"]["cpu"]["healthcheck"]["test"]
    assert all(command[:2] == ["CMD", "/opt/server/bin/python"] for command in found.values())
    return {name: command[2:] for name, command in found.items()}


def is_healthy(variables: dict[str, str]) -> bool:
    """What the health checks of images and docker-compose.yml say, which is the same."""
    codes = {
        name: subprocess.run([sys.executable, *arguments], env=variables, capture_output=True, timeout=60).returncode
        for name, arguments in health_checks().items()
    }
    assert set(codes.values()) in ({0}, {1}), codes
    return set(codes.values()) == {0}


def test_with_a_certificate_every_request_is_encrypted(serve: Serve, package: Write, tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    options = ("--environment", "current", "--tls-cert", str(made.cert), "--tls-key", str(made.key))
    service = serve(package(CURIOUS), *options).wait_until_ready()
    assert service.url.startswith("https://127.0.0.1:")
    port = int(service.url.rpartition(":")[2])
    with httpx.Client(verify=ssl.create_default_context(cafile=made.cert), base_url=service.url, timeout=60) as client:
        assert client.get("/healthz").status_code == 200
        assert f"{service.url}/predict" in client.get("/").text
        body = msgpack.packb({"files": [{"content": bytes(20_000_000), "content_type": "application/dicom"}]})
        assert client.post("/predict", content=body, headers=MSGPACK).status_code == 200
    assert is_healthy({"MDAI_MODEL_TLS_CERT": str(made.cert), "MDAI_MODEL_PORT": str(port)})
    assert is_healthy({"MDAI_MODEL_PORT": str(port)}), "the certificate may have been named with --tls-cert"
    with pytest.raises(httpx.ConnectError):
        httpx.get(service.url, verify=ssl.create_default_context())
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{port}/healthz")
    with socket.create_connection(("127.0.0.1", port)) as knocking:
        knocking.sendall(b"\x00" * 100)
        assert b"HTTP" not in knocking.recv(1000)
    new = make_certificate(tmp_path, "new")
    for file, renewed in zip(made, new, strict=True):
        renewed.rename(file)
    while ssl.get_server_certificate(("127.0.0.1", port)) != made.cert.read_text():  # within a second
        pass
    assert service.stop() == 0
    assert "Traceback" not in service.output and " ERROR " not in service.output


def test_the_health_checks_agree_over_plain_http_and_say_when_nobody_answers(serve: Serve, package: Write) -> None:
    service = serve(package(CURIOUS), "--environment", "current")
    variables = {"MDAI_MODEL_PORT": service.url.rpartition(":")[2]}
    for proxies in ({}, {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}):
        assert is_healthy(variables | proxies)
    assert service.stop() == 0
    assert not is_healthy(variables)


TELL_OF_OPENED_FILES = """
import sys
sys.addaudithook(lambda event, given: event == "open" and sys.stderr.write(f"opened {given[0]}\\n"))
"""


def test_keys_and_certificate_are_read_once_at_the_start(serve: Serve, package: Write, tmp_path: Path) -> None:
    made, keys = make_certificate(tmp_path), tmp_path / "keys"
    keys.write_text(KEY)
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(TELL_OF_OPENED_FILES)
    options = ("--tls-cert", str(made.cert), "--tls-key", str(made.key), "--api-key-file", str(keys))
    variables = {"PYTHONPATH": str(tmp_path / "hook")}
    service = serve(package(CURIOUS), "--environment", "current", *options, environ=variables).wait_until_ready()
    assert [service.lines.count(f"opened {file}") for file in (made.cert, made.key, keys)] == [1, 1, 1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_the_curl_line_of_the_documentation(serve: Serve, package: Write, tmp_path: Path) -> None:
    made, file, dicom = make_certificate(tmp_path), tmp_path / "keys", tmp_path / "chest.dcm"
    file.write_text(KEY)
    dicom.write_bytes(bytes(128) + b"DICM")
    options = ("--tls-cert", str(made.cert), "--tls-key", str(made.key), "--api-key-file", str(file))
    service = serve(package(CURIOUS), "--environment", "current", *options).wait_until_ready()
    command = ["curl", "-sS", "--cacert", made.cert, "-H", f"X-API-Key: {KEY}", "-F", f"files=@{dicom}"]
    answer = subprocess.run([*command, "-H", "Accept: application/json", f"{service.url}/predict"], capture_output=True)
    assert (answer.returncode, answer.stderr) == (0, b"")
    assert b'"note":"nothing"' in answer.stdout.replace(b": ", b":")


@pytest.mark.parametrize(
    ("options", "variables", "sentence"),
    [
        (("--api-key-file", "nowhere"), {}, "--api-key-file: nowhere cannot be read: No such file or directory."),
        (("--api-key-file", "empty"), {}, "--api-key-file: the file holds no key."),
        ((), {"MDAI_MODEL_API_KEYS": "hunter2"}, "MDAI_MODEL_API_KEYS: key 1 is shorter than 16 characters"),
        ((), {"MDAI_MODEL_API_KEY": KEY}, "MDAI_MODEL_API_KEY is no option, and without keys everybody is served"),
        (("--tls-cert", "nowhere"), {}, "--tls-cert: nowhere cannot be read"),
        (("--tls-cert", "empty"), {}, "--tls-cert: empty is not a certificate and its private key in PEM"),
        (("--tls-key", "empty"), {}, "--tls-key belongs to a certificate"),
        (("--worker-user", "root"), {}, "--worker-user: "),
    ],
)
def test_what_would_leave_the_door_open_ends_with_code_2_and_a_sentence(
    package: Write, tmp_path: Path, options: tuple[str, ...], variables: dict[str, str], sentence: str
) -> None:
    (tmp_path / "empty").touch()
    ended = subprocess.run(
        [COMMAND, "serve", package(CURIOUS), "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "MDAI_MODEL_CACHE_DIR": str(tmp_path / "cache")} | variables,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"mdai-model: {sentence}")
    assert "hunter2" not in ended.stderr and KEY not in ended.stderr
