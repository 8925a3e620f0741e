"""What is read out of a requirements.txt, in the forms that real packages use."""

from pathlib import Path

import pytest

from model_loader.requirements_file import Requirements, normalized, read_requirements


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x-1.0-py3-none-any.whl").write_bytes(b"wheel")
    (tmp_path / "src").mkdir()
    (tmp_path / "numpy").mkdir()
    return tmp_path


def read(folder: Path, content: str | bytes) -> Requirements:
    file = folder / "requirements.txt"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_requirements(file)


def test_names_are_those_that_lines_begin_with(folder: Path) -> None:
    text = "numpy==1.19 # old\r\n# scipy\r\nScikit_Learn>=1;python_version<'3.8'\r\n\r\ntorch @ https://a.invalid/t.whl\r\n"
    assert read(folder, text).names == {"numpy", "scikit-learn", "torch"}


@pytest.mark.parametrize(
    "line",
    [
        "./x-1.0-py3-none-any.whl",
        "x-1.0-py3-none-any.whl",
        "./x-1.0-py3-none-any.whl[extra] ; python_version < '4'",
        "x @ ./x-1.0-py3-none-any.whl",
        "x[extra] @ file:x-1.0-py3-none-any.whl",
        "./x-1.0-py3-none-any.whl --hash=sha256:00",
        "./x-1.0-py3-none-any.whl # mine",
    ],
)
def test_a_wheel_beside_the_file_is_found_however_it_is_written(folder: Path, line: str) -> None:
    assert read(folder, line).local_files == (folder / "x-1.0-py3-none-any.whl",)


@pytest.mark.parametrize("line", ["./src", "src/", "-e src", "--editable=./src", "-f src", "--find-links ./src"])
def test_a_folder_is_found_however_it_is_written(folder: Path, line: str) -> None:
    assert read(folder, line).local_folders == (folder / "src",)


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "missing.whl",
        "git+https://a.invalid/x@main#egg=x",
        "-e git+https://a.invalid/x",
        "-f https://a.invalid/links",
        "https://a.invalid/x-1.0-py3-none-any.whl",
        "x" * 5000 + ".whl",
        "./\0",
    ],
)
def test_what_is_no_path_here_is_left_to_uv(folder: Path, line: str) -> None:
    """A folder that happens to be called like a project is not meant, as for pip."""
    requirements = read(folder, line)
    assert (requirements.local_files, requirements.local_folders) == ((), ())


def test_included_files_are_read_once_and_constraints_list_nothing(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more/a.txt").write_text("six\n-r ../requirements.txt\n-r b.txt\n./x-1.0-py3-none-any.whl\n")
    (folder / "more/b.txt").write_text("scipy\n")
    (folder / "c.txt").write_text("pandas<2\n")
    requirements = read(folder, "-r more/a.txt\n--requirement=more/b.txt\n-cc.txt\n-r missing.txt\nnumpy")
    assert [file.name for file in requirements.files] == ["requirements.txt", "a.txt", "b.txt", "c.txt"]
    assert requirements.names == {"six", "scipy", "numpy", "x"}
    assert requirements.local_files == (folder / "x-1.0-py3-none-any.whl",)


def test_options_that_uv_ignores_in_files_are_told(folder: Path) -> None:
    requirements = read(folder, "--pre\n--trusted-host a.invalid\n--trusted-host=b.invalid\n-i https://a.invalid\n")
    assert requirements.prereleases
    assert requirements.own_index
    assert requirements.trusted_hosts == ("a.invalid", "b.invalid")
    assert not read(folder, "numpy --pre\n# --pre\n").prereleases


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks_are_understood(folder: Path, encoding: str) -> None:
    """`pip freeze > requirements.txt` in PowerShell writes UTF-16."""
    assert read(folder, "numpy\nsix\n".encode(encoding)).names == {"numpy", "six"}


def test_continued_lines_are_one(folder: Path) -> None:
    assert read(folder, "numpy \\\n  ==1.19 \\\r\n --hash=sha256:00\nsix").names == {"numpy", "six"}


def test_a_file_of_comments_asks_for_nothing(folder: Path) -> None:
    assert not read(folder, "# numpy\n\n   # six\r\n").asks_for_something
    assert read(folder, "# numpy\ngit+https://a.invalid/x.git\n").asks_for_something
    assert not Requirements().asks_for_something


def test_names_compare_as_indexes_compare_them() -> None:
    assert normalized("Ruamel.Yaml__Clib") == "ruamel-yaml-clib"
