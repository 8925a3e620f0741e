"""Options from the command line and the environment, and what is said about one that has no meaning."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, SettingsError, load_settings, parse_age, parse_duration, parse_size, stray_variables


@pytest.fixture(autouse=True)
def _no_options_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.upper().startswith("MDAI_MODEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_the_defaults_are_those_of_the_documentation(tmp_path: Path) -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.workers, settings.device) == (
        "0.0.0.0",
        6324,
        None,
        "auto",
    )
    assert (settings.startup_timeout, settings.predict_timeout, settings.grace) == (600, 600, 30)
    assert (settings.max_body, settings.max_queue, settings.strict) == (2 * 2**30, 64, False)
    assert settings.max_response == 2 * 2**30
    assert (settings.min_upload_rate, settings.on_disconnect) == (1000, "finish")
    assert settings.cache_dir == tmp_path / "mdai-model"


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDAI_MODEL_PORT", "1000")
    monkeypatch.setenv("mdai_model_workers", "3")
    monkeypatch.setenv("MDAI_MODEL_STRICT", "true")
    monkeypatch.setenv("MDAI_MODEL_MAX_BODY", "5MB")
    monkeypatch.setenv("MDAI_MODEL_GRACE", "")
    settings = load_settings({"port": 2000, "workers": None})
    assert (settings.port, settings.workers, settings.strict) == (2000, 3, True)
    assert (settings.max_body, settings.grace) == (5_000_000, 30)


@pytest.mark.parametrize(("text", "version"), [("3", 3), ("v12", 12), (" V0 ", 0), (7, 7)])
def test_a_version_of_an_export_is_a_number_or_named_like_its_archive(text: object, version: int) -> None:
    assert load_settings({"model_version": text}).model_version == version


@pytest.mark.parametrize("text", ["", "newest", "-1", "1.5", "v", "3.zip", "٣", "9" * 10, -1])
def test_any_other_version_is_refused(text: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"^--model-version: "):
        load_settings({"model_version": text})
    monkeypatch.setenv("MDAI_MODEL_MODEL_VERSION", "latest")
    with pytest.raises(SettingsError, match=r"^MDAI_MODEL_MODEL_VERSION: 'latest' is not a version of an export"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "size"),
    [("5MB", 5_000_000), ("2GiB", 2**31), ("1048576", 2**20), ("1.5 kb", 1500), ("10M", 10**7), ("3b", 3)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("90s", 90), ("10m", 600), ("1h", 3600), (" 1.5 s ", 1.5), ("250ms", 0.25)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "MB", "-5MB", "5 elephants", "1e9", "0x10", "nan", "5 min", "٣MB"])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a size; write bytes as 5MB, 2GiB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "s", "-1", "inf", "nan", "1d", "10 minutes", "1:30"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration; write 30 \(seconds\), 90s, 10m"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("0d", 0), ("12h", 43_200), ("1.5 d", 129_600)])
def test_ages(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "-1d", "model.zip", "1 week"])
def test_what_is_no_age_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an age; write 30d \(days\)"):
        parse_age(text)


@pytest.mark.parametrize("text", ["2023-01-31", "2023-01-31T12:00:00Z", "2023-01-31T12:00:00.5+02:00"])
def test_a_day_or_a_time_is_kept_as_it_was_written(text: str) -> None:
    assert load_settings({"exclude_newer": text}).exclude_newer == text


@pytest.mark.parametrize("text", ["yesterday", "2023-13-01", "20230131", "2023-01-31T12:00:00", "3 days"])
def test_what_is_neither_a_day_nor_a_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--exclude-newer: .* write 2023-01-31 or 2023-01-31T12:00:00Z"):
        load_settings({"exclude_newer": text})


@pytest.mark.parametrize("text", ["auto", "none", "cpu", "cu92", "cu118"])
def test_builds_of_torch(text: str) -> None:
    assert load_settings({"torch_backend": text}).torch_backend == text


@pytest.mark.parametrize("text", ["", "gpu", "11.8", "cu", "cu1180", "CPU", "cu118 ", "cu１１８"])
def test_what_is_no_build_of_torch_is_refused_with_examples(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--torch-backend: .* is no build of torch; write auto, none, cpu, or"):
        load_settings({"torch_backend": text})


def test_every_bad_option_is_named_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDAI_MODEL_MAX_BODY", "big")
    monkeypatch.setenv("MDAI_MODEL_DEVICE", "tpu")
    monkeypatch.setenv("MDAI_MODEL_PREDICT_TIMEOUT", "0")
    with pytest.raises(SettingsError) as caught:
        load_settings({"port": 99_999, "python": "2.7"})
    assert sorted(str(caught.value).splitlines()) == [
        "--port: 99999 is not accepted: input should be less than or equal to 65535",
        "--python: Python 2.7 is too old; models run on Python 3.7 or newer",
        "MDAI_MODEL_DEVICE: 'tpu' is not accepted: input should be 'auto', 'cpu' or 'gpu'",
        "MDAI_MODEL_MAX_BODY: 'big' is not a size; write bytes as 5MB, 2GiB or 1048576",
        "MDAI_MODEL_PREDICT_TIMEOUT: '0' is not accepted: input should be greater than 0",
    ]


def test_a_kubernetes_service_of_our_name_does_not_set_our_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets MDAI_MODEL_PORT=tcp://… in every pod beside a Service named mdai-model."""
    monkeypatch.setenv("MDAI_MODEL_PORT", "tcp://10.0.171.239:6324")
    assert load_settings().port == 6324


def test_a_misspelt_variable_is_warned_of_with_the_one_that_was_meant() -> None:
    environ = {
        "MDAI_MODEL_WORKRES": "2",
        "MDAI_MODEL_PORT": "1",
        "MDAI_MODEL_SERVICE_HOST": "10.0.0.1",
        "MDAI_MODEL_SERVICE_PORT_HTTP": "80",
        "MDAI_MODEL_PORT_6324_TCP_ADDR": "10.0.0.1",
        "MDAI_PATH": ".mdai",
    }
    (warning,) = stray_variables(environ)
    assert "MDAI_MODEL_WORKRES" in warning and "did you mean MDAI_MODEL_WORKERS?" in warning


def test_settings_do_not_change_while_the_service_runs() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().port = 1  # type: ignore[misc]


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingsError, match="--api-key"):
        load_settings({"api_key": "x"})


def test_a_user_without_a_home_gets_a_cache_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run under user ids that nobody has an account for."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the XDG specification
    monkeypatch.setattr(Path, "home", no_home)
    assert Settings().cache_dir.name == "mdai-model"
