"""config.yaml: what it may say, and the sentence for everything else."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from model_loader.config import BASE_IMAGES, CUDA_VERSIONS, ModelConfig, load_config
from model_loader.errors import ConfigError
from model_loader.package_warning import place


@pytest.fixture
def mdai(tmp_path: Path) -> Path:
    folder = tmp_path / ".mdai"
    folder.mkdir()
    return folder


def load(mdai: Path, text: str | bytes, name: str = "config.yaml") -> ModelConfig:
    """The configuration that `text` gives; no warnings are expected."""
    config, warnings = load_warned(mdai, text, name)
    assert warnings == ()
    return config


def load_warned(mdai: Path, text: str | bytes, name: str = "config.yaml") -> tuple[ModelConfig, tuple[str, ...]]:
    """The configuration and warnings, each of which knows the place that it names."""
    (mdai / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    config, warnings = load_config(mdai)
    for warning in warnings:
        assert warning.kind and warning.file.startswith(".mdai/")
        assert warning == (f"{place(warning.file, warning.line)}: {warning.said}" if warning.line else warning.said)
    return config, warnings


def refusal(mdai: Path, text: str | bytes) -> str:
    (mdai / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(mdai)
    sentence = caught.value.text
    assert sentence.startswith(".mdai/config.yaml")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "pydantic" not in sentence
    line = f", line {caught.value.line}:" if caught.value.line else ""
    assert sentence.startswith(f"{caught.value.file}{line}")
    assert line or ", line " not in sentence
    return sentence


def test_without_a_file_every_key_has_its_default(mdai: Path) -> None:
    config, warnings = load_config(mdai)
    assert (config.base_image, config.device_type, config.cuda_version, config.env) == (
        "py37",
        "cpu",
        "11.0",
        {},
    )
    assert config.python_version == "3.7"
    assert warnings == ()


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n", "~", "{}", "base_image:\nenv:\n"])
def test_a_file_that_says_nothing_gives_the_defaults(mdai: Path, text: str) -> None:
    assert load(mdai, text) == ModelConfig()


@pytest.mark.parametrize("name", ["config.yaml", "config.yml"])
def test_both_names_are_read(mdai: Path, name: str) -> None:
    assert load(mdai, "base_image: py310", name).base_image == "py310"


def test_yaml_wins_over_yml_and_says_so(mdai: Path) -> None:
    (mdai / "config.yml").write_text("base_image: py38")
    config, warnings = load_warned(mdai, "base_image: py39")
    assert config.base_image == "py39"
    assert warnings == (".mdai holds config.yaml and config.yml; only config.yaml is read.",)


def test_a_name_in_another_case_is_not_read_and_the_warning_says_so(mdai: Path) -> None:
    (mdai / "Config.YML").write_text("base_image: py39")
    config, warnings = load_config(mdai)
    assert config == ModelConfig()
    assert warnings == (".mdai/Config.YML is not read: the name must be config.yaml, in lower case.",)


@pytest.mark.parametrize("image", BASE_IMAGES)
def test_every_base_image_names_its_python(mdai: Path, image: str) -> None:
    config = load(mdai, f"base_image: {image}")
    assert config.python_version == f"3.{image[3:]}"


@pytest.mark.parametrize("text", ["base_image: PY39", 'base_image: " py39 "', "base_image: Py39  # comment\r\n"])
def test_case_and_stray_spaces_do_not_matter(mdai: Path, text: str) -> None:
    assert load(mdai, text).base_image == "py39"


def test_an_unknown_base_image_is_refused_with_the_line_and_what_is_allowed(mdai: Path) -> None:
    assert refusal(mdai, "device_type: cpu\nbase_image: py27\n") == (
        ".mdai/config.yaml, line 2: base_image is 'py27', which is not known. "
        "Allowed: py37, py38, py39, py310, py311, py312, py313; `--python X.Y` chooses another Python all the same."
    )


@pytest.mark.parametrize(
    ("value", "found", "hint"),
    [
        ("3.9", "the number 3.9", "Write py39."),
        ("3.10", "the number 3.1", "YAML reads 3.10 as that number: write py310."),
        ("python3.10", "'python3.10'", "Write py310."),
        ("py3.12.1", "'py3.12.1'", "Write py312."),
        ("[py39]", "a list", ""),
        ("{a: b}", "a mapping", ""),
        ("yes", "true", ""),
        ("<string>", "'<string>'", ""),
    ],
)
def test_a_base_image_in_other_words_is_told_the_right_one(mdai: Path, value: str, found: str, hint: str) -> None:
    sentence = refusal(mdai, f"base_image: {value}")
    assert f"base_image is {found}, which is not known." in sentence
    assert hint in sentence
    assert "Allowed: py37" in sentence


@pytest.mark.parametrize("image", ["py36", "custom"])
def test_a_python_that_the_operator_chose_makes_the_base_image_a_warning(mdai: Path, image: str) -> None:
    (mdai / "config.yaml").write_text(f"base_image: {image}\nenv: {{A: 1}}\n")
    config, (warning,) = load_config(mdai, is_python_chosen=True)
    assert (config.base_image, config.env) == ("py37", {"A": "1"})
    assert f".mdai/config.yaml, line 1: base_image is '{image}'" in warning
    assert warning.endswith("The Python that was chosen for this start is taken.")


def test_whatever_else_is_wrong_is_still_refused_then(mdai: Path) -> None:
    (mdai / "config.yaml").write_text("base_image: py36\ndevice_type: tpu\n")
    with pytest.raises(ConfigError, match="device_type is 'tpu'"):
        load_config(mdai, is_python_chosen=True)


@pytest.mark.parametrize(("image", "needs"), [("custom", "Dockerfile"), ("NVIDIA", "Clara")])
def test_images_of_the_platform_alone_are_refused_with_the_reason(mdai: Path, image: str, needs: str) -> None:
    sentence = refusal(mdai, f"base_image: {image}")
    assert f"base_image is '{image.lower()}'" in sentence
    assert needs in sentence
    assert "requirements.txt" in sentence


@pytest.mark.parametrize(("value", "expected"), [("cpu", "cpu"), ("GPU", "gpu"), ("' Cpu '", "cpu")])
def test_device_type_in_any_case(mdai: Path, value: str, expected: str) -> None:
    assert load(mdai, f"device_type: {value}").device_type == expected


@pytest.mark.parametrize(("value", "found"), [("cuda", "'cuda'"), ("off", "false"), ("0", "the number 0")])
def test_another_device_type_is_refused(mdai: Path, value: str, found: str) -> None:
    assert refusal(mdai, f"device_type: {value}") == (
        f".mdai/config.yaml, line 1: device_type is {found}, which is not known. Allowed: cpu, gpu."
    )


@pytest.mark.parametrize("version", CUDA_VERSIONS)
@pytest.mark.parametrize("quote", ["", "'"])
def test_cuda_version_as_number_or_text(mdai: Path, version: str, quote: str) -> None:
    config = load(mdai, f"device_type: gpu\ncuda_version: {quote}{version}{quote}")
    assert config.cuda_version == version


def test_a_whole_cuda_version_has_a_zero_behind_the_point(mdai: Path) -> None:
    assert load(mdai, "cuda_version: 11\ndevice_type: gpu").cuda_version == "11.0"


def test_an_unknown_cuda_version_is_refused_for_gpu(mdai: Path) -> None:
    sentence = refusal(mdai, "device_type: gpu\ncuda_version: 9.2")
    assert "line 2: cuda_version is the number 9.2" in sentence
    assert "Allowed: 10.0, 10.1, 11.0" in sentence


def test_cuda_version_is_not_read_for_cpu(mdai: Path) -> None:
    assert load(mdai, "device_type: cpu\ncuda_version: nonsense").cuda_version == "11.0"


def test_env_values_arrive_as_str_of_what_yaml_means(mdai: Path) -> None:
    text = """
env:
  TEXT: hello world
  NUMBER: 42
  FLOAT: 1.50
  YES: yes
  DATE: 2024-01-31
  LIST: [1, a]
  EMPTY: ""
  7: seven
"""
    assert load(mdai, text).env == {
        "TEXT": "hello world",
        "NUMBER": "42",
        "FLOAT": "1.5",
        "True": "True",
        "DATE": "2024-01-31",
        "LIST": "[1, 'a']",
        "EMPTY": "",
        "7": "seven",
    }


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("PYTHONPATH: ./lib", "does not reach the model's own interpreter"),
        ("WEIGHTS: $HOME/weights", "variables are not expanded here"),
    ],
)
def test_what_an_env_name_will_not_do_is_a_warning(mdai: Path, line: str, warning: str) -> None:
    (told,) = load_warned(mdai, f"env:\n  {line}\n")[1]
    assert told.startswith(".mdai/config.yaml, line 2: env.")
    assert warning in told


def test_an_env_name_without_a_value_is_the_text_none_with_a_warning(mdai: Path) -> None:
    config, warnings = load_warned(mdai, "env:\n  DEBUG:\n")
    assert config.env == {"DEBUG": "None"}
    assert warnings == (
        ".mdai/config.yaml, line 2: env.DEBUG has no value, so the model sees the text 'None'. "
        'Write "" for an empty text.',
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("env: [A=1]", "env is a list, not a mapping"),
        ("env: A=1", "env is 'A=1', not a mapping"),
        ("env:\n  '': 1", "env has the name ''"),
        ("env:\n  A=B: 1", "env has the name 'A=B'"),
        ('env:\n  A: "x\\0y"', "env.A holds a NUL character"),
        ('env:\n  A: "\\ud800"', "env.'A' cannot be written as text"),
    ],
)
def test_an_env_that_no_process_can_have_is_refused(mdai: Path, text: str, expected: str) -> None:
    assert expected in refusal(mdai, text)


def test_unknown_keys_are_ignored_with_the_nearest_known_one(mdai: Path) -> None:
    config, warnings = load_warned(
        mdai, "base_imgae: py39\ncolour: red\nclara_version: 4.1.0\nDEVICE_TYPE: gpu\n3: x\n"
    )
    assert config == ModelConfig()
    ignored = "is not a known key and is ignored."
    assert warnings == (
        f".mdai/config.yaml, line 1: 'base_imgae' {ignored} Did you mean 'base_image'?",
        f".mdai/config.yaml, line 2: 'colour' {ignored}",
        f".mdai/config.yaml, line 3: 'clara_version' {ignored} "
        "It belongs to NVIDIA Clara images, which this server does not run.",
        f".mdai/config.yaml, line 4: 'DEVICE_TYPE' {ignored} Did you mean 'device_type'?",
        f".mdai/config.yaml, line 5: '3' {ignored}",
    )


def test_a_key_given_twice_takes_the_last_with_a_warning(mdai: Path) -> None:
    config, warnings = load_warned(mdai, "base_image: py38\nenv: {A: 1, A: 2}\nbase_image: py39\n")
    assert config.base_image == "py39"
    assert config.env == {"A": "2"}
    assert warnings == (
        ".mdai/config.yaml, line 2: 'A' occurs twice (also on line 2). The last one counts.",
        ".mdai/config.yaml, line 3: 'base_image' occurs twice (also on line 1). The last one counts.",
    )


def test_all_that_is_wrong_is_said_at_once(mdai: Path) -> None:
    sentence = refusal(mdai, "base_image: py27\ndevice_type: tpu\nenv: 3\n")
    for line, key in ((1, "base_image"), (2, "device_type"), (3, "env")):
        assert f"line {line}: {key} is" in sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- base_image: py39\n", "line 1: found a list where `key: value` lines belong"),
        ("py39", "line 1: found only 'py39'"),
        ("base_image: py39\n\tdevice_type: cpu\n", "line 2: a tab stands where YAML allows only spaces"),
        ("a: b: c", "line 1: this is not valid YAML (a colon too many here, or one missing in the line above)"),
        ("a: [1", "this is not valid YAML"),
        ("a: 'open", "this is not valid YAML"),
        ("a: *nowhere", "line 1: this is not valid YAML (found undefined alias 'nowhere')"),
        ("a: 1\n---\nb: 2", "line 2: this is not valid YAML (but found another document)"),
        ("a: !!python/object:os.system x", "line 1: this is not valid YAML (could not determine"),
        ("a: 1\nb: 2024-13-45", "line 2: this is not valid YAML ('2024-13-45' has no meaning)"),
        ("a: !!int ''", "'' has no meaning"),
        ("a: !!bool perhaps", "'perhaps' has no meaning"),
        ("? [a]\n: b", "found unhashable key"),
        ("a: 0x" + "f" * 5000, "has no meaning"),
        ("a: " + "9" * 5000, "has no meaning"),
        ("a: 1\nb: \x07", "line 2: the character '\\x07' has no place in YAML"),
        (b"a: 1\nb: caf\xe9\n", "line 2: the byte 0xe9 is not UTF-8"),
        ("a: &x [*x]", "line 1: this value holds an alias (`*name`) to itself"),
        ("[" * 60_000, "nests too deeply"),
        ("a: " + "b" * 70_000, "is larger than 64 kB"),
    ],
)  # fmt: skip
def test_what_is_no_mapping_in_yaml_is_refused_with_the_line(mdai: Path, text: str | bytes, expected: str) -> None:
    assert expected in refusal(mdai, text)


@pytest.mark.parametrize(
    "repeat", ["[*{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}]", "{{<<: [*{0}, *{0}, *{0}, *{0}]}}"]
)
def test_aliases_that_grow_without_end_are_refused_before_they_grow(mdai: Path, repeat: str) -> None:
    lines = ["n0: &n0 {x: lol}", *(f"n{i + 1}: &n{i + 1} {repeat.format(f'n{i}')}" for i in range(30))]
    assert "repeats itself through YAML aliases" in refusal(mdai, "\n".join(lines) + "\nenv: {A: *n30}")


def test_honest_aliases_and_merges_work(mdai: Path) -> None:
    config, warnings = load_warned(mdai, "common: &c {A: 1}\nenv:\n  <<: *c\n  B: 2\n")
    assert config.env == {"A": "1", "B": "2"}
    assert len(warnings) == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_windows_editors_write_is_read(mdai: Path, encoding: str) -> None:
    assert load(mdai, "base_image: py39\r\nenv:\r\n  ORT: Köln\r\n".encode(encoding)).env == {"ORT": "Köln"}


def test_a_folder_in_place_of_the_file_is_refused(mdai: Path) -> None:
    (mdai / "config.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"\.mdai/config\.yaml is not a regular file"):
        load_config(mdai)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        ModelConfig().base_image = "py39"  # type: ignore[misc]


KEYS = ["base_image", "device_type", "cuda_version", "env", "<<"]
VALUES = ["py39", "gpu", "11.8", "~", "yes", "1:30", "0x", "1e999", ".nan", "&a ", "*a"]
TAGS = ["!!int ", "!!binary ", "!!timestamp ", "!!set ", "!!omap ", "!!bool "]
MARKS = [": ", ":", "\n", "\n  ", "- ", "? ", "---", *"[]{},'\"\t#|>%@\0\u2028"]
fragments = st.lists(st.sampled_from(KEYS + VALUES + TAGS + MARKS) | st.text(max_size=3), max_size=25)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(parts=fragments)
def test_any_text_gives_a_configuration_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    mdai = tmp_path_factory.getbasetemp() / ".mdai"
    mdai.mkdir(exist_ok=True)
    (mdai / "config.yaml").write_bytes("".join(parts).encode("utf-8", "surrogatepass"))
    try:
        config, warnings = load_config(mdai)
    except ConfigError as error:
        assert error.text.startswith(".mdai/config.yaml")
        assert "\n" not in error.text
    else:
        assert config.base_image in BASE_IMAGES
        assert all(isinstance(value, str) for value in config.env.values())
        assert all(warning.endswith((".", "?")) for warning in warnings)
