"""What the doctor finds when it runs the model: in real workers, packages that misbehave and others that do not."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.doctor.finding import Finding, Place, Severity
from app.doctor.run.inputs import InputError, read_inputs
from app.doctor.run.predictions import CODES, examine_run
from app.doctor.run.synthetic import as_file, dx_instance
from app.doctor.run.trial import Hosting
from app.scaffold import write_package as write_template
from model_loader.environment import EnvironmentRequest
from model_loader.workdir import RunFolder
from tests.building import write_files
from tests.doctoring import subject_of
from tests.hosting import PACKAGES, await_true, processes_with, shared_buffers
from tests.interpreters import cache_with_runtimes
from tests.trying import model

REPOSITORY = Path(__file__).resolve().parents[4]
Examine = Callable[..., list[Finding]]
#: A model that imports nothing, so that it loads at once; `{}` is what predict does.
QUICK = """
class MDAIModel:
    calls = 0

    def predict(self, data):
        self.calls += 1
        {}
        return []
"""


@pytest.fixture
def examine(tmp_path: Path) -> Examine:
    """Runs a package (its source, or its folder) with the server's own Python; no process or buffer may be left."""

    def examined(package: str | Path, *, environment: Any = "current", **options: Any) -> list[Finding]:
        trace, before = uuid.uuid4().hex, shared_buffers()
        if isinstance(package, str):
            package = write_files(tmp_path / "model", {".mdai/mdai_deploy.py": package})
        hosting = Hosting(
            EnvironmentRequest(mode=environment),
            options.pop("cache", tmp_path / "cache"),
            startup_timeout=options.pop("startup_timeout", 60.0),
            predict_timeout=options.pop("predict_timeout", 60.0),
            environ={**os.environ, "MDAI_TEST_TRACE": trace},
        )
        # Not below `tmp_path`: a worker's TMPDIR must be short.
        with tempfile.TemporaryDirectory(prefix="runs-") as runs, RunFolder(Path(runs)) as run:
            findings = list(examine_run(subject_of(package), hosting, run, **options))
        await_true(lambda: not processes_with(f"MDAI_TEST_TRACE={trace}"), "no process of the package's is left")
        await_true(lambda: shared_buffers() == before, "every shared buffer is given back")
        return findings

    return examined


@pytest.fixture
def radiograph(tmp_path: Path) -> Path:
    """A DICOM file."""
    content = as_file(dx_instance()).content
    assert isinstance(content, bytes)
    (tmp_path / "chest.dcm").write_bytes(content)
    return tmp_path / "chest.dcm"


def names(findings: list[Finding]) -> list[str]:
    return [finding.code.name for finding in findings]


def only(findings: list[Finding]) -> Finding:
    [finding] = findings
    return finding


def test_every_fault_of_one_package_is_found_once_with_the_inputs_it_was_found_for(examine: Examine) -> None:
    """Each code for outputs, by one model with as many habits, asked about a slice, a radiograph and a series."""
    findings = examine(
        model(
            """
            output["probability"] = 1.7
            output["score"] = np.float32(1)
            output["frame_number"] = 3
            output["class_index"] = 5
            box = {**output, "data": {"x": 100, "y": 20, "width": columns - 10, "height": 60}}
            mask = {**output, "study_uid": "1.2.3", "data": {"mask": np.zeros((columns, rows))}}
            outputs += [box, mask]
            return outputs
            """
        ),
        label_classes=[{"class_index": 0, "label": {"name": "lung"}}],
    )
    assert sorted(names(findings)) == [f"P{n:03}" for n in (5, 6, 7, 8, 9, 10, 11, 12, 16)]
    by_code = {finding.code.name: finding for finding in findings}
    assert {finding.place.file for code, finding in by_code.items() if code != "P008"} == {"a made-up CT slice"}
    assert by_code["P008"].place == Place("a made-up CT series of 5 slices")
    assert by_code["P012"].reason == (
        "In 3 of 3 outputs, first outputs[0]: frame_number is 3, and the image has 1 frame.\n"
        "The same with a made-up radiograph and a made-up CT series of 5 slices."
    )


def test_a_package_that_does_all_that_rightly_is_given_no_finding(examine: Examine) -> None:
    rightly = """
        output["probability"] = 1.0
        output["frame_number"] = 0
        box = {**output, "data": {"x": 0, "y": 0, "width": columns, "height": rows}}
        mask = {**output, "data": {"mask": [[0] * columns] * rows}}
        series = {key: output[key] for key in ("type", "study_uid", "series_uid", "class_index")}
        outputs += [box, mask, series]
        """
    assert examine(model(rightly), label_classes=[{"class_index": 0, "label": {"name": "lung"}}]) == []


def test_a_model_of_the_interface_s_first_version_is_given_no_finding(examine: Examine) -> None:
    """`data["instances"]` works here, and `tags` are read from DICOM."""
    answer = """
        uids = {"study_uid": "StudyInstanceUID", "series_uid": "SeriesInstanceUID", "instance_uid": "SOPInstanceUID"}
        return [
            {"type": "ANNOTATION", "class_index": 0, **{key: each["tags"][uids[key]] for key in uids}}
            for each in data["instances"]
        ]"""
    assert examine(QUICK.format(answer)) == []


def test_a_loop_that_returns_too_early_is_found(examine: Examine) -> None:
    finding = only(examine(model("return outputs")))
    assert (finding.code.name, finding.place.file) == ("P008", "a made-up CT series of 5 slices")
    assert "a `return` inside the loop over data['files']" in finding.reason


@pytest.mark.parametrize("package", ["import_misses_module", "class_missing", "init_raises", "init_segfaults"])
def test_a_model_that_does_not_load_is_one_error(examine: Examine, package: str) -> None:
    finding = only(examine(PACKAGES / package))
    assert (finding.code.name, finding.code.severity) == ("P001", Severity.ERROR)
    assert finding.place.file == ".mdai/mdai_deploy.py"
    assert finding.reason[0].isupper() and finding.fix.endswith(".")


def test_the_place_of_an_error_is_the_last_line_of_the_package_s_own(examine: Examine, tmp_path: Path) -> None:
    """Not the library's that the package called, and also where a module was found by way of `lib`."""
    folder = write_files(
        tmp_path / "model",
        {
            ".mdai/mdai_deploy.py": "from lib.parts.weights import load\n\nclass MDAIModel:\n"
            "    def __init__(self):\n        load()\n\n    def predict(self, data):\n        return []\n",
            "parts/weights.py": "import json\n\n\ndef load():\n    return json.loads('no JSON')\n",
        },
    )
    finding = only(examine(folder))
    assert finding.place == Place("parts/weights.py", 5)
    assert finding.reason.startswith("MDAIModel() raised JSONDecodeError: ")
    assert finding.reason.splitlines()[-1].startswith("json.decoder.JSONDecodeError")


def test_a_syntax_error_is_placed_where_it_is(examine: Examine) -> None:
    finding = only(examine("class MDAIModel:\n    def predict(self data):\n        pass\n"))
    assert (finding.code.name, finding.place) == ("P001", Place(".mdai/mdai_deploy.py", 2))


def test_a_model_that_does_not_get_ready_tells_what_it_printed(examine: Examine) -> None:
    source = "import time\nprint('downloading weights', flush=True)\nwhile True:\n    time.sleep(1)\n"
    finding = only(examine(source, startup_timeout=8.0))
    assert finding.code.name == "P001" and "--startup-timeout" in finding.fix
    assert finding.reason.endswith("The last it printed:\ndownloading weights")


RAISES = "raise KeyError('no such tag')"
RAISES_FOR_SERIES = "if len(data['files']) > 1: raise ValueError('one at a time')"


def test_an_error_about_made_up_images_only_asks_for_real_ones(examine: Examine) -> None:
    finding = only(examine(QUICK.format(RAISES)))
    assert (finding.code.name, finding.code.severity) == ("P015", Severity.WARNING)
    assert finding.place == Place(".mdai/mdai_deploy.py", 7) and "--input" in finding.fix
    assert "With a made-up CT slice, predict(data) raised KeyError: 'no such tag'." in finding.reason
    assert finding.reason.endswith("The same with a made-up radiograph and a made-up CT series of 5 slices.")


def test_an_error_about_an_input_is_an_error(examine: Examine, radiograph: Path) -> None:
    findings = examine(QUICK.format(RAISES), inputs=read_inputs([radiograph]))
    assert names(findings) == ["P015", "P002"]
    assert (findings[1].code.severity, findings[1].reason[:30]) == (Severity.ERROR, f"With {radiograph}, "[:30])


def test_an_error_about_some_made_up_images_may_be_right(examine: Examine) -> None:
    """The model may be made for the others."""
    findings = examine(QUICK.format(RAISES_FOR_SERIES))
    assert names(findings) == ["P014", "P013"]
    assert "It answered a made-up CT slice and a made-up radiograph." in findings[0].reason


def test_made_up_images_count_less_where_the_model_answered_an_input(examine: Examine, radiograph: Path) -> None:
    raises_first = "if self.calls < 4: raise KeyError('no such tag')"
    findings = examine(QUICK.format(raises_first), inputs=read_inputs([radiograph]))
    assert names(findings) == ["P014", "P013"]
    assert findings[1].place == Place(str(radiograph))


def test_a_process_that_dies_is_an_error_and_the_next_request_finds_another(examine: Examine) -> None:
    dies = "print('last words', file=sys.stderr); len(data['files']) > 1 and os._exit(5)"
    source = "import os, sys\n" + QUICK.format(dies)
    died, nothing = examine(source)
    assert (died.code.name, died.place.file) == ("P003", "a made-up CT series of 5 slices")
    assert "exit code 5" in died.reason and died.reason.endswith("The last it printed:\nlast words")
    assert nothing.code.name == "P013"


def test_a_predict_that_does_not_end_is_stopped_once(examine: Examine) -> None:
    """And not asked about the other made-up images, which would take as long."""
    source = "import time\n" + QUICK.format("print('waiting', flush=True); time.sleep(1000)")
    finding = only(examine(source, predict_timeout=4.0))
    assert (finding.code.name, finding.place.file) == ("P003", "a made-up CT slice")
    assert "longer than 4 s" in finding.reason and finding.reason.endswith("The last it printed:\nwaiting")


def test_a_model_that_does_not_load_a_second_time_is_found(examine: Examine, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    source = f"import os\nopen({str(flag)!r}, 'x').close()\n" + QUICK.format("os._exit(3)")
    assert names(examine(source)) == ["P001", "P003"]


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("return None", "predict returned None"),
        ("return [{'type': 'ANNOTATION', 'study_uid': '1'}]", "outputs[0].class_index is missing"),
        ("return [{'type': 'NONE', 'study_uid': {1}}]", "study_uid"),
    ],
)
def test_an_answer_that_is_refused_is_one_error(examine: Examine, statement: str, says: str) -> None:
    finding = only(examine(QUICK.format(statement)))
    assert finding.code.name == "P004" and says in finding.reason


def test_no_outputs_at_all_are_worth_a_note(examine: Examine) -> None:
    finding = only(examine(QUICK.format("pass")))
    assert (finding.code.name, finding.code.severity) == ("P013", Severity.NOTE)


def test_pictures_are_sent_with_uids_of_their_own(examine: Examine, tmp_path: Path) -> None:
    """And compared by them: a 3 × 5 picture, and a model that answers for one of 4 × 5."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/one.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x05\0\0\0\x03\x08\0\0\0\0")
    statement = 'output["data"] = {"mask": [[0] * columns] * (rows + (rows == 3))}'
    finding = only(examine(model(statement), inputs=read_inputs([tmp_path / "in"])))
    assert (finding.code.name, finding.place.file) == ("P010", str(tmp_path / "in/one.png"))
    assert "4 rows and 5 columns, and the image has 3 rows and 5 columns" in finding.reason


def test_the_model_is_given_the_label_classes(examine: Examine) -> None:
    statement = "assert data['label_classes'] == [{'class_index': 4}] and data['args'] == {}"
    assert names(examine(QUICK.format(statement), label_classes=[{"class_index": 4}])) == ["P013"]


def test_what_a_model_prints_reaches_nobody(
    examine: Examine, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        examine(QUICK.format("print('noise'); raise ValueError"))
    assert not [record for record in caplog.records if record.name.startswith(("model", "model_loader"))]
    assert capfd.readouterr() == ("", "")


def test_an_input_that_is_gone_when_it_is_sent_ends_it_with_a_sentence(examine: Examine, radiograph: Path) -> None:
    inputs = read_inputs([radiograph])
    radiograph.unlink()
    with pytest.raises(InputError, match=r"chest\.dcm cannot be read: No such file or directory"):
        examine(QUICK.format("pass"), inputs=inputs)


INTERRUPTED = """
import signal, sys
from pathlib import Path
from app.doctor.run.predictions import examine_run
from app.doctor.run.trial import Hosting
from app.serving import ending_on_signals
from model_loader.environment import EnvironmentRequest
from model_loader.workdir import RunFolder
from tests.doctoring import subject_of

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where these tests run in the background
package, runs = map(Path, sys.argv[1:])
with ending_on_signals(), RunFolder(runs) as run:
    hosting = Hosting(EnvironmentRequest(mode="current"), runs / "cache")
    list(examine_run(subject_of(package), hosting, run, progress=lambda line: print(line, flush=True)))
"""
HANGS_ON_LOADING = "import os, time\nopen(os.environ['READY'], 'w').close()\ntime.sleep(1000)\n"
HANGS_ON_PREDICT = "import os, time\n" + QUICK.format("open(os.environ['READY'], 'w').close(); time.sleep(1000)")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("source", [HANGS_ON_LOADING, HANGS_ON_PREDICT], ids=["loading", "predicting"])
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, source: str, number: signal.Signals) -> None:
    """While the model loads, and while it predicts."""
    package = write_files(tmp_path / "model", {".mdai/mdai_deploy.py": source})
    ready, trace = tmp_path / "ready", uuid.uuid4().hex
    environ = {**os.environ, "READY": str(ready), "MDAI_TEST_TRACE": trace}
    with tempfile.TemporaryDirectory(prefix="runs-") as runs:
        command = [sys.executable, "-c", INTERRUPTED, package, runs]
        with subprocess.Popen(
            command, env=environ, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                await_true(lambda: ready.exists() or process.poll() is not None, "the model has come so far")
                process.send_signal(number)
                _, errors = process.communicate(timeout=60)
            finally:
                process.kill()
        assert (process.returncode, errors) == (128 + number, "")
        assert [path.name for path in Path(runs).iterdir() if path.name != "cache"] == []
    await_true(lambda: not processes_with(f"MDAI_TEST_TRACE={trace}"), "no process is left")


def test_what_init_writes_is_given_no_finding(examine: Examine, tmp_path: Path) -> None:
    write_template(tmp_path / "new")
    assert examine(tmp_path / "new") == []


def test_the_lung_finder_is_given_no_error(
    examine: Examine, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In the environment that it asks for, which is built for it."""
    cache = cache_with_runtimes(tmp_path, tmp_path_factory)
    findings = examine(REPOSITORY / "examples/lung-finder", environment="auto", cache=cache)
    assert [str(finding) for finding in findings if finding.code.severity is not Severity.NOTE] == []


def test_every_code_has_a_page() -> None:
    for code in CODES:
        page = (REPOSITORY / "docs/checks" / f"{code.name}.md").read_text()
        assert page.startswith(f"# {code.name}: {code.title}\n")
        assert str(code.severity) in page.lower().splitlines()[2]
