"""torch's own index as uv sees it, played by a proxy on this machine: uv knows the address, this project does not.

The proxy answers a CONNECT, whatever the host, with a certificate made for that host, and serves folders of wheels::

    FOLDER/cpu/torch-2.1.0+cpu-py3-none-any.whl      as .../cpu/torch/
"""

import contextlib
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.parse import quote, unquote

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class TorchIndex(ThreadingTCPServer):
    """Serves until it is closed; ``asked`` are the builds that somebody wanted to see torch for."""

    def __init__(self, folder: Path, certificates: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.folder = folder
        self.asked: list[str] = []
        self._certificates = certificates
        self._lock = threading.Lock()
        self._openssl("req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=tests")

    @property
    def environ(self) -> dict[str, str]:
        """Variables with which uv and pip come here for everything that is not a file."""
        proxy = f"http://127.0.0.1:{self.server_address[1]}"
        authority = str(self._certificates / "ca.pem")
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy)
        trusted = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"), authority)
        return proxies | trusted | {"NO_PROXY": "", "no_proxy": ""}

    def context(self, host: str) -> ssl.SSLContext:
        """What speaks TLS as that host."""
        with self._lock:
            chain = self._certificates / f"{host}.pem"
            if not chain.exists():
                (self._certificates / "names").write_text(f"subjectAltName=DNS:{host}\n")
                self._openssl("req", *_KEY, "-keyout", "host.key", "-out", "host.csr", "-subj", "/CN=tests")
                self._openssl(
                    *("x509", "-req", "-in", "host.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
                    *("-extfile", "names", "-out", "host.crt"),
                )
                parts = [(self._certificates / name).read_bytes() for name in ("host.key", "host.crt")]
                chain.write_bytes(b"".join(parts))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._certificates, check=True, capture_output=True)


class _Connection(StreamRequestHandler):
    server: TorchIndex

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            host = self._head(self.rfile).split(":")[0]
            self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with (
                self.server.context(host).wrap_socket(self.request, server_side=True) as secure,
                secure.makefile("rb") as head,
            ):
                status, content = self._found(unquote(self._head(head)))
                kind = "text/html" if content.startswith(b"<") else "application/octet-stream"
                secure.sendall(
                    f"HTTP/1.1 {status} so\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
                    "Connection: close\r\n\r\n".encode()
                    + content
                )

    @staticmethod
    def _head(stream: object) -> str:
        """Return the target of a request, read to the end of its head."""
        lines = iter(stream.readline, b"")  # type: ignore[attr-defined]
        target = str(next(lines, b"").decode()).split(" ")[1:2]
        for line in lines:
            if not line.strip():
                break
        return target[0] if target else ""

    def _found(self, path: str) -> tuple[int, bytes]:
        *_, build, project, name = path.split("/")
        if name:
            wheel = self.server.folder / build / name
            return (200, wheel.read_bytes()) if wheel.is_file() else (404, b"")
        if project == "torch":
            self.server.asked.append(build)
        wheels = sorted((self.server.folder / build).glob(f"{project.replace('-', '_')}-*.whl"))
        links = "".join(f'<a href="{quote(wheel.name)}">{wheel.name}</a>\n' for wheel in wheels)
        return (200, f"<html>{links}</html>".encode()) if wheels else (404, b"")


@contextlib.contextmanager
def torch_index(folder: Path, certificates: Path) -> Iterator[TorchIndex]:
    """Serve the folder in the background."""
    with TorchIndex(folder, certificates) as index:
        thread = threading.Thread(target=index.serve_forever)
        thread.start()
        try:
            yield index
        finally:
            index.shutdown()
            thread.join()
