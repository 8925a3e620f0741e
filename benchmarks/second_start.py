"""A second start without a network, beside the time that the model takes to load by itself.

    python benchmarks/second_start.py [--runs 7] [--json FILE]

"By itself" is the package's own interpreter, started to import mdai_deploy and to build MDAIModel(). Served is
`mdai-model serve`, from the command until it has said that it serves and that its worker is ready, in a network
namespace that reaches nothing.
Needs the development environment and Linux, and an index for the first start.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = Path(sys.executable).with_name("mdai-model")
LUNG_FINDER = Path(__file__).parents[1] / "examples" / "lung-finder"
PROMISED_SECONDS = 0.3
SAID = ("serving", "is ready")

TRIVIAL = """
class MDAIModel:
    def predict(self, data):
        return [{"type": "NONE", "study_uid": "1.2"}]
"""
ALONE = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/.mdai"]
from mdai_deploy import MDAIModel
model = MDAIModel()
print("serving, worker 0 is ready", flush=True)
sys.stdin.read()
"""
CUTS = (
    ["unshare", "--net"],
    ["unshare", "--user", "--map-root-user", "--net"],
    ["env", "UV_OFFLINE=1", "https_proxy=http://127.0.0.1:9", "http_proxy=http://127.0.0.1:9"],
)


def without_network() -> list[str]:
    """What to put in front of a command so that it reaches no network, the first that works here."""
    for cut in CUTS:
        try:
            subprocess.run([*cut, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return cut
    raise SystemExit("no way to cut off the network was found")


def seconds_until_ready(command: list[str | Path]) -> float:
    """From the start of the command until it has written both of SAID; ends it then."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        said = ""
        while any(words not in said for words in SAID) and (line := process.stdout.readline()):
            said += line
        seconds = time.perf_counter() - began
        process.terminate()
        process.communicate()
    if any(words not in said for words in SAID):
        raise SystemExit(f"it did not get ready:\n{said}")
    return seconds


def second_start(package: Path, cache: Path, runs: int) -> dict[str, float]:
    """Median seconds of both, in turn, after a first start that builds the environment."""
    built = subprocess.run(
        [COMMAND, "env", package, "--cache-dir", cache], stdout=subprocess.PIPE, text=True, check=True
    )
    python = built.stdout.splitlines()[1]
    serve: list[str | Path] = [COMMAND, "serve", package, "--cache-dir", cache, "--host", "127.0.0.1", "--port", "0"]
    cut = without_network()
    by_itself: list[str | Path] = [python, "-I", "-c", ALONE, package]
    alone: list[float] = []
    served: list[float] = []
    for run in range(runs + 1):
        for times, command in ((alone, by_itself), (served, [*cut, *serve])):
            seconds = seconds_until_ready(command)
            if run:  # the first one fills the system's own caches
                times.append(seconds)
    return {
        "load_alone_seconds": statistics.median(alone),
        "served_seconds": statistics.median(served),
        "difference_seconds": statistics.median(b - a for a, b in zip(alone, served, strict=True)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=7, help="starts to take the median of")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        trivial = Path(folder) / "trivial"
        (trivial / ".mdai").mkdir(parents=True)
        (trivial / ".mdai" / "mdai_deploy.py").write_text(TRIVIAL)
        own = f"py{sys.version_info[0]}{sys.version_info[1]}"
        (trivial / ".mdai" / "config.yaml").write_text(f"base_image: {own}\n")
        for package in (trivial, LUNG_FINDER):
            found = second_start(package, Path(folder) / "cache", options.runs)
            figures |= {f"{package.name}_{name}": value for name, value in found.items()}
    for name, value in figures.items():
        promise = f"   promised: under {PROMISED_SECONDS}" if "difference" in name else ""
        print(f"{name:48} {value:9.3f}{promise}")
    if options.json:
        machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "python": platform.python_version()}
        options.json.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n")
    return int(any(value >= PROMISED_SECONDS for name, value in figures.items() if "difference" in name))


if __name__ == "__main__":
    sys.exit(main())
