"""Which API keys are accepted, and how the list of them changes while the service runs."""

import logging
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from app import api_keys
from app.api_keys import ApiKeys, doubts_about_keys
from app.settings import Settings, SettingsError, load_settings

OLD, NEW = "old-key-" + "0" * 16, "new-key-" + "1" * 16


class Clock:
    """Time that the test lets pass."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# who may\n\n{OLD}  # the archive\n")
    path.chmod(0o600)
    return path


def test_without_any_no_key_is_needed() -> None:
    assert not ApiKeys()


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_file_has_one_key_a_line_and_comments(file: Path, ending: str, mark: str) -> None:
    file.write_bytes(f"{mark}{OLD} # the archive{ending or chr(10)}#{NEW}x\n{NEW}{ending}".encode())
    keys = ApiKeys(file)
    assert keys and keys.accepts(OLD) and keys.accepts(NEW)
    assert not any(map(keys.accepts, ["", OLD + "x", NEW[:-1], OLD + NEW, OLD.upper(), "# the archive"]))


def test_the_environment_may_list_several() -> None:
    keys = ApiKeys(None, f" {OLD}, {NEW}\n")
    assert keys.accepts(OLD) and keys.accepts(NEW) and not keys.accepts(f"{OLD},")


def test_keys_of_both_places_are_accepted(file: Path) -> None:
    keys = ApiKeys(file, NEW)
    assert keys.accepts(OLD) and keys.accepts(NEW)


def test_keys_that_are_no_ascii_are_compared_too(file: Path) -> None:
    assert not ApiKeys(file).accepts("ü" * 20)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_every_key_is_compared_wherever_the_right_one_stands(monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    """How long it takes tells nothing of the keys: hashes of one length, and no end at the first that matches."""
    compared = []
    compare = api_keys.hmac.compare_digest
    monkeypatch.setattr(api_keys.hmac, "compare_digest", lambda a, b: compared.append(len(b)) or compare(a, b))
    listed = ["a" * 16, "b" * 100, "c" * 200]
    assert ApiKeys(None, " ".join(listed)).accepts(listed[position])
    assert compared == [32, 32, 32]


def test_a_file_that_changes_is_read_again(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    keys = ApiKeys(file, clock=clock)
    file.write_text(f"{OLD}\n{NEW}\n")
    assert not keys.accepts(NEW), "the file is not read for every request"
    clock.now = 1.0
    with caplog.at_level(logging.INFO):
        assert keys.accepts(NEW) and keys.accepts(OLD)
        clock.now = 2.0
        file.write_text(f"{NEW}\n")
        assert not keys.accepts(OLD) and keys.accepts(NEW)
        clock.now = 3.0
        keys.accepts(NEW)
    assert [record.message for record in caplog.records] == [
        "The API keys were read again: 2 accepted",
        "The API keys were read again: 1 accepted",
    ]


def test_a_link_that_is_set_anew_is_a_change(tmp_path: Path, file: Path) -> None:
    """So secrets reach a container of Kubernetes."""
    clock, link, other = Clock(), tmp_path / "link", tmp_path / "other"
    link.symlink_to(file)
    keys = ApiKeys(link, clock=clock)
    other.write_text(NEW)
    (tmp_path / "new").symlink_to(other)
    (tmp_path / "new").rename(link)
    clock.now = 5.0
    assert keys.accepts(NEW) and not keys.accepts(OLD)


@pytest.mark.parametrize("damage", ["gone", "empty", "a short key"])
def test_a_file_that_becomes_wrong_locks_nobody_out_and_nobody_in(
    file: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    keys = ApiKeys(file, clock=clock)
    if damage == "gone":
        file.unlink()
    else:
        file.write_text("" if damage == "empty" else f"{NEW}\nshort-secret\n")
    for clock.now in (1.0, 2.0, 3.0):
        assert keys and keys.accepts(OLD) and not keys.accepts(NEW) and not keys.accepts("")
    (record,) = caplog.records
    assert record.levelname == "ERROR" and "keys of before stay in force" in record.message
    assert "short-secret" not in record.message and NEW not in record.message
    file.write_text(NEW)
    clock.now = 4.0
    assert keys.accepts(NEW) and not keys.accepts(OLD)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "the file holds no key. Write one a line; `openssl rand -hex 32` makes one."),
        ("# nothing\n\n", "the file holds no key"),
        (f"{OLD}\nhunter2\n", "the key in line 2 is shorter than 16 characters and could be guessed"),
        (f"{OLD} {NEW}\n", "the key in line 1 holds something else than letters, digits"),
        ("schlüssel-schlüssel\n", "the key in line 1 holds something else"),
        ("\0" * 20, "the key in line 1 holds something else"),
        ("x" * 513, "is over 512 long"),
        ("#" * 70_000, "is over 64 kB long, so it is no list of keys"),
    ],
)
def test_a_file_without_good_keys_is_refused_in_words_that_hold_none(file: Path, content: str, sentence: str) -> None:
    file.write_text(content)
    with pytest.raises(SettingsError) as refused:
        ApiKeys(file)
    assert str(refused.value).startswith("--api-key-file: ") and sentence in str(refused.value)
    assert not any(secret in str(refused.value) for secret in ("hunter2", OLD, NEW, "schlüssel"))


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "keys"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(SettingsError, match=r"cannot be read: |is no file"):
        ApiKeys(path)


@pytest.mark.parametrize(
    ("listed", "sentence"), [("hunter2", "key 1 is shorter"), (f"{OLD} ?", "key 2 "), (", ", "no key")]
)
def test_bad_keys_in_the_environment_are_refused_without_being_shown(listed: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        ApiKeys(None, listed)
    assert "MDAI_MODEL_API_KEYS" in str(refused.value) and sentence in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_settings_never_show_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDAI_MODEL_API_KEYS", OLD)
    settings = load_settings()
    assert settings.api_keys == SecretStr(OLD)
    assert OLD not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize(("mode", "verb"), [(0o644, "read"), (0o606, "change"), (0o640, ""), (0o600, "")])
def test_a_file_that_everybody_may_read_is_warned_of(file: Path, mode: int, verb: str) -> None:
    file.chmod(mode)
    doubts = doubts_about_keys(Settings(api_key_file=file), {})
    expected = [f"Every user of this machine may {verb} the API keys in {file}: `chmod 600 {file}` ends that."]
    assert doubts == (expected if verb else [])


@pytest.mark.parametrize("name", ["MDAI_MODEL_API_KEY", "mdai_model_api_keyfile", "MDAI_MODEL_API_KEYS_FILE"])
def test_a_misspelt_variable_is_no_open_door(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is no option, and without keys everybody is served") as refused:
        doubts_about_keys(Settings(), {name: OLD})
    assert OLD not in str(refused.value)


def test_a_variable_that_is_set_to_nothing_is_warned_of() -> None:
    (warning,) = doubts_about_keys(Settings(), {"MDAI_MODEL_API_KEYS": "", "MDAI_MODEL_PORT": ""})
    assert "brings no API key" in warning
