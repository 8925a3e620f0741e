"""The OpenAPI document put to the test: requests made from it by schemathesis, and answers compared with it.

    python -m chaos.openapi SCHEMATHESIS [--seconds 60]

SCHEMATHESIS is that program. The exit code is 1 where a status, a media type or an answer is not in the document, or
where the server's log tells of a failure of its own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from chaos.service import Service

_MODEL = """
class MDAIModel:
    def predict(self, data):
        return [{"type": "NONE", "study_uid": "1.2"}]
"""
_CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.openapi")
    parser.add_argument("schemathesis", help="the program")
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        mdai = Path(folder) / "package" / ".mdai"
        mdai.mkdir(parents=True)
        (mdai / "mdai_deploy.py").write_text(_MODEL)
        service = Service(Path(folder), mdai.parent)
        try:
            service.wait_until_ready()
            code = _try_out(service, options.schemathesis, options.seconds, folder)
            service.wait_until_ready()
        finally:
            service.end()
    for line in service.own_failures:
        print(line)
    return int(bool(code or service.own_failures))


def _try_out(service: Service, program: str, seconds: int, folder: str) -> int:
    url = f"http://127.0.0.1:{service.port}/openapi.json"
    return subprocess.run(
        [Path(program).resolve(), "run", url, "--checks", _CHECKS, "--max-time", str(seconds), "--continue-on-failure"],
        env=os.environ | {"SCHEMATHESIS_HOOKS": "openapi_hooks", "PYTHONPATH": str(Path(__file__).parent)},
        cwd=folder,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
