"""LitServe beside ours: what is said where it cannot be had, and how its figures are told."""

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks import misbehaviour, peers, report, turns
from benchmarks.environments import EnvironmentMissing, bin_folder
from benchmarks.figures import spread
from benchmarks.record import said
from benchmarks.rows import BY_NAME
from benchmarks.servers import Server
from tests.benchmarks.test_harness import SAMPLE, figures


def test_what_cannot_be_installed_is_said_and_tried_again_next_time(tmp_path: Path) -> None:
    nothing = str(tmp_path / "nothing")
    with pytest.raises(EnvironmentMissing, match=r"^some could not be installed, and is left out: .*nothing"):
        bin_folder("some", [nothing], tmp_path)
    assert not (tmp_path / ".venv-some" / ".installed").exists()


def test_an_environment_that_has_what_is_wanted_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".venv-some").mkdir()
    (tmp_path / ".venv-some" / ".installed").write_text("one>=1\ntwo>=2")
    assert bin_folder("some", ["one>=1", "two>=2"], tmp_path) == tmp_path / ".venv-some" / "bin"


def test_only_rows_that_make_sense_for_both_are_compared_with_litserve() -> None:
    command = [sys.executable, "-m", "benchmarks", "peers", "empty", "memory-1.5GB"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert found.returncode == 2 and "there is no row memory-1.5GB of peers" in found.stderr


def test_a_caller_whom_nobody_tells_is_not_waited_for_forever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = cast(Server, SimpleNamespace(port=silent.getsockname()[1]))
        what, _ = misbehaviour.caller_told(server, began=0.0, patience=0.05)
    assert what == "nothing for 0.05 s"


def beside(title: str, **more: Any) -> dict[str, Any]:
    sample = {key: value for key, value in figures(0.4, met=True).items() if key not in ("goal", "met", "stall_ms")}
    sample["litserve"] = sample.pop("reference")
    used = {"litserve": 2.5, "ours": 1.0}
    versions = {"python": "3.11.7", "litserve": "0.2.19", "uvicorn": "0.54.0"}
    return {
        **sample,
        "title": title,
        "beside": "litserve",
        "cpu_ms_per_request": used,
        "peer_versions": versions,
        **more,
    }


def test_the_report_has_a_table_beside_litserve_where_it_was_recorded(tmp_path: Path) -> None:
    aborted = {"litserve_answer": "nothing for 30 s", "litserve_told": 30000.0, "litserve_again": 3000.0}
    rows = {
        "empty": beside("a row"),
        "hold": beside("holding", litserve_worst=7.0),
        "abort": beside("aborting", ours_told=spread([30]), **aborted),
    }
    report.write(SAMPLE, {"machine": {}, "rows": rows}, documents=tmp_path)
    text = (tmp_path / "benchmarks.md").read_text()
    assert "LitServe) 0.2.19 (python 3.11.7, uvicorn 0.54.0)" in text
    assert "it looks at nothing that a model returns" in text
    assert "| a row | 2.00 ms (2.00–2.00) | 0.80 ms (0.80–0.80) | **0.40** (0.30–0.50) | 2.50, 1.00 | 0.0 |" in text
    assert "| holding | 2.0 ms at worst | 0.8 ms at worst |" in text
    assert "| aborting | told nothing for 30 s; good again after 3,000 ms | told after 30 ms" in text
    assert "From 2026-01-02T03:04:05Z to 2026-01-02T03:04:05Z, commit unknown; other programs kept 0.0 cores" in text
    report.write(SAMPLE, documents=tmp_path)
    assert "LitServe" not in (tmp_path / "benchmarks.md").read_text()


def test_a_row_beside_litserve_is_said_with_its_figures() -> None:
    text = said("empty", beside("a row"), {})
    assert "litserve         2.00 ms" in text and "cores' time for each 1.00 ms, 0.40 of its" in text


@pytest.mark.environments
@pytest.mark.parametrize("name", ["empty-8", "segment-20-lists"])
def test_litserve_really_answers_as_ours_does(tmp_path: Path, name: str) -> None:
    """With two workers, and with masks; a row ends where the answers are not the same bytes."""
    row = replace(BY_NAME[name], rounds=1, requests=8, warm_up=1)
    found = turns.compare(row, tmp_path, seconds=60, sides=peers.SIDES)
    assert found["litserve"]["count"] == found["ours"]["count"] > 0 and "stall_ms" not in found
