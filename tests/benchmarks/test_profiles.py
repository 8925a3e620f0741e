"""Profiles: which stage a sample falls into, what is told of it, and what is said where nobody may look."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report, sampling
from benchmarks.client import Connection, Request
from benchmarks.environments import REPOSITORY
from benchmarks.stacks import told
from tests.benchmarks.answering import Answering
from tests.benchmarks.test_harness import SAMPLE


def test_a_sample_belongs_to_the_innermost_stage_and_its_function_is_told_by_its_hottest_line(tmp_path: Path) -> None:
    """What numpy does for the model is the model's, and what only waits is nobody's."""
    code = tmp_path / "code"
    (code / "app").mkdir(parents=True)
    (code / "app" / "routes.py").write_text("one()\ntwo()\nfuture = work_queue.get(block=True)\n")
    numpy = "tolist (/x/lib/python3.11/site-packages/numpy/core.py:9)"
    model = "MDAIModel.predict (/x/benchmarks/packages/segment/.mdai/mdai_deploy.py:7)"
    packs = "pack (/x/cache/worker/mdai_guest/encoding.py:3)"
    raw = [
        f'process 7:"python -m x";serve ({code}/app/routes.py:1) 1',
        f'process 7:"python -m x";serve ({code}/app/routes.py:2) 2',
        f'process 7:"python -m x";serve ({code}/app/routes.py:3) 50',
        f"main (/x/cache/worker/mdai_guest/hosting.py:1);{model};{numpy} 5",
        f"main (/x/cache/worker/mdai_guest/hosting.py:1);{packs} 2",
    ]
    found = told("\n".join(raw), code)
    assert found["samples"] == 10
    assert found["stages"] == {
        "the model": 0.5,
        "the request's way through the server": 0.3,
        "checking and packing": 0.2,
    }
    assert found["functions"][:2] == [
        {"function": "tolist (numpy/core.py)", "line": "", "share": 0.5},
        {"function": "serve (app/routes.py)", "line": "two()", "share": 0.3},
    ]
    assert found["functions"][2]["function"] == "pack (mdai_guest/encoding.py)"


def test_nothing_sampled_is_no_error(tmp_path: Path) -> None:
    assert told("", tmp_path) == {"samples": 0, "stages": {}, "functions": []}


def profile(cost: float, **stages: float) -> dict[str, Any]:
    function = {"function": "f (a.py)", "line": "x = a | b", "share": 0.25}
    objects = {"libpython3.11.so.1.0": 70.0, "[kernel.kallsyms]": 20.0, "libc.so.6": 10.0}
    named = {name.replace("_", " "): share for name, share in stages.items()}
    return {
        "cpu_ms_per_request": cost,
        "samples": 100,
        "stages": named,
        "functions": [function] * 10,
        "objects": objects,
    }


def test_the_report_tells_stages_in_milliseconds_before_and_after(tmp_path: Path) -> None:
    sides = {
        "reference": profile(0.4, the_log=0.5),
        "before": profile(2.0, judging=0.25, the_log=0.5),
        "ours": profile(1.0, judging=0.5),
    }
    rows = {"empty": {**SAMPLE["rows"]["empty"], "title": "empty request", "before": "0123456789", "sides": sides}}
    report.write(SAMPLE, profiles={"machine": {}, "rows": rows}, documents=tmp_path)
    text = (tmp_path / "benchmarks.md").read_text()
    assert "Before is commit 0123456789" in text and "### Empty request" in text
    assert "| all | **0.40** | **2.00** | **1.00** |" in text
    assert "| judging |  | 0.50 (25%) | 0.50 (50%) |" in text
    assert "| in the kernel (perf) | 0.08 (20%) | 0.40 (20%) | 0.20 (20%) |" in text
    assert text.count("| ours | 25% | `f (a.py)` | `x = a \\| b` |") == 6
    report.write(SAMPLE, documents=tmp_path)
    assert "## Profiles" not in (tmp_path / "benchmarks.md").read_text()


def test_a_profile_is_said_with_its_stages() -> None:
    text = sampling.said("empty", {"title": "empty request", "sides": {"ours": profile(1.0, judging=0.5)}})
    assert "ours: cores' time 1.0 ms a request, 100 samples" in text and "50.0% judging" in text


def test_a_profiler_that_may_not_look_is_said_with_its_words() -> None:
    server = Answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
    try:
        refused = [sys.executable, "-c", "raise SystemExit('Permission denied, try as root')"]
        with (
            closing(Connection(server.port)) as connection,
            pytest.raises(RuntimeError, match=r"could not look at the server: Permission denied, try as root"),
        ):
            sampling.ask_during(refused, connection, Request(b""))
    finally:
        server.end()


def test_an_earlier_version_is_taken_from_this_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True).returncode:
        pytest.skip("not a git checkout")
    found = sampling.unpacked("HEAD", tmp_path / "head")
    assert found and (found / "app" / "cli.py").exists() and (found / "model_loader" / "worker").is_dir()
    assert sampling.unpacked("0" * 40, tmp_path / "none") is None
    assert "there is no commit 0000000000 here, so nothing is said of before" in capsys.readouterr().out


def test_only_rows_of_one_caller_are_profiled() -> None:
    command = [sys.executable, "-m", "benchmarks", "profile", "empty-8"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert found.returncode == 2 and "there is no row empty-8 of profile" in found.stderr
