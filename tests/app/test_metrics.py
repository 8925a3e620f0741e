"""What the service counts about itself."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app.metrics import METRICS, STAGES, Histogram, Metrics
from model_loader.errors import ModelRaised, NotReady

BODY = msgpack.packb({"files": []})
MSGPACK = {"Content-Type": "application/msgpack"}


@pytest.fixture
def client(make_app: Any) -> Any:
    with TestClient(make_app(), raise_server_exceptions=False) as client:
        yield client


def samples(client: TestClient) -> dict[tuple[str, ...], float]:
    """The value of each sample, by its name and the values of its labels, as METRICS has them, a bucket's end last."""
    order = [label for labels, _ in METRICS.values() for label in labels] + ["le"]
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (one.name, *(one.labels[label] for label in order if label in one.labels)): one.value
        for family in families
        for one in family.samples
    }


def test_answers_are_counted_by_route_status_and_type_of_problem(client: TestClient, pool: Any) -> None:
    client.post("/predict", content=BODY, headers=MSGPACK)
    client.post("/inference/", content=BODY, headers=MSGPACK)
    client.post("/predict", content=b"\xc1", headers=MSGPACK)
    client.post("/predict", content=BODY)
    client.get("/predict")
    pool.raises = ModelRaised("It failed.")
    client.post("/predict", content=BODY, headers=MSGPACK)
    pool.raises = ZeroDivisionError()
    client.post("/predict", content=BODY, headers=MSGPACK)
    pool.not_ready = NotReady("It loads.")
    client.post("/predict", content=BODY, headers=MSGPACK)
    client.get("/ready")
    client.get("/1.2.3.4")
    counted = {key[1:]: value for key, value in samples(client).items() if key[0] == "mdai_model_requests_total"}
    assert counted == {
        ("predict", "200", ""): 2,
        ("predict", "400", "malformed-body"): 1,
        ("predict", "415", "unsupported-media-type"): 1,
        ("predict", "405", ""): 1,
        ("predict", "500", "model-raised"): 1,
        ("predict", "500", "internal-error"): 1,
        ("predict", "503", "not-ready"): 1,
        ("ready", "503", ""): 1,
        ("other", "404", ""): 1,
    }


def test_times_and_sizes_of_predictions_are_measured(client: TestClient, pool: Any) -> None:
    for _ in range(3):
        client.post("/predict", content=BODY, headers=MSGPACK)
    seen = samples(client)
    for stage in STAGES:
        assert seen["mdai_model_stage_duration_seconds_count", stage] == 3
    assert seen["mdai_model_stage_duration_seconds_sum", "predict"] == pytest.approx(0.009)
    assert seen["mdai_model_stage_duration_seconds_bucket", "predict", "0.0025"] == 0
    assert seen["mdai_model_stage_duration_seconds_bucket", "predict", "0.005"] == 3
    assert seen["mdai_model_request_body_bytes_sum",] == 3 * len(BODY)
    assert seen["mdai_model_response_body_bytes_sum",] == 3
    assert seen["mdai_model_predict_duration_seconds_count",] == 3
    assert seen["mdai_model_predict_in_progress",] == 0


def test_a_stage_or_a_time_that_a_package_made_up_spoils_nothing(client: TestClient, pool: Any) -> None:
    metrics = Metrics()

    class Served:
        status, problem_type, started_at, received, sent = 200, "", 0.0, 0, 0
        timings = {"predict": float("nan"), "decode": -1.0, "encode": float("inf"), "Jane Doe": 1.0, "judge": 1.0}

    metrics.began("predict")
    metrics.ended("predict", Served())
    metrics.fold()
    text = metrics.text({}, "")[0].decode()
    assert "Doe" not in text and "NaN" not in text
    assert 'mdai_model_stage_duration_seconds_sum{stage="judge"} 1.0' in text
    assert 'mdai_model_stage_duration_seconds_count{stage="predict"} 0.0' in text


def test_a_value_at_a_buckets_end_belongs_to_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (1.0, 1.5, 2.0, 3.0):
        histogram.observe(value)
    histogram.fold()
    assert histogram.buckets() == [("1.0", 1), ("2.0", 3), ("+Inf", 4)]
    for value in (0.5, 2.5):
        histogram.observe(value)
    histogram.fold()
    assert (histogram.buckets(), histogram.total) == ([("1.0", 2), ("2.0", 4), ("+Inf", 6)], 10.5)


def test_many_measurements_are_sorted_in_unasked() -> None:
    """Else they would fill the memory of a service that nobody scrapes."""
    metrics = Metrics()
    served = SimpleNamespace(status=200, problem_type="", started_at=0.0, received=1, sent=1, timings={})
    for _ in range(10_000):
        metrics.began("predict")
        metrics.ended("predict", served)
    assert len(metrics._duration._new) < 1000
    metrics.fold()
    assert metrics._duration.buckets()[-1] == ("+Inf", 10_000)


def test_the_pool_is_told_by_numbers() -> None:
    workers = [
        {"id": 0, "state": "busy", "pid": 1, "restarts_by_cause": {"": 2}},
        {"id": 1, "state": "ready", "restarts_by_cause": {"crash": 1, "deadline": 3}},
    ]
    text = Metrics().text({"state": "ready", "waiting": 7, "workers": workers}, "")[0].decode()
    for line in (
        "mdai_model_ready 1.0",
        "mdai_model_queue_length 7.0",
        'mdai_model_workers{state="busy"} 1.0',
        'mdai_model_workers{state="dead"} 0.0',
        'mdai_model_worker_restarts_total{cause="",worker="0"} 2.0',
        'mdai_model_worker_restarts_total{cause="deadline",worker="1"} 3.0',
    ):
        assert f"{line}\n" in text
    assert re.search(r"^mdai_model_server_resident_memory_bytes \d", text, re.MULTILINE)
    assert re.search(r'^mdai_model_worker_resident_memory_bytes\{worker="0"\} \d', text, re.MULTILINE)


def test_scrapers_get_the_form_that_they_ask_for(client: TestClient) -> None:
    plain = client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    openmetrics = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics.text.endswith("# EOF\n")


def test_every_metric_is_told_and_the_page_for_operators_names_it_with_its_labels(client: TestClient) -> None:
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    families = {family.name for family in text_string_to_metric_families(client.get("/metrics").text)}
    assert families == {name.removesuffix("_total") for name in METRICS}
    rows = dict(re.findall(r"^\| `(mdai_model_\w+)` \| ([^|]*) \|", page, re.MULTILINE))
    assert rows == {name: ", ".join(f"`{label}`" for label in labels) for name, (labels, _) in METRICS.items()}
    mentioned = set(re.findall(r"mdai_model_\w+", page))
    known = {name + suffix for name in METRICS for suffix in ("", "_bucket", "_sum", "_count")}
    assert mentioned <= known
