"""What holds for the repository as a whole."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from app.problems import PROBLEMS
from app.settings import Settings
from model_loader.errors import PredictFailed

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
HEADING = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def tracked_files() -> list[Path]:
    """Every text file that is, or is about to be, in version control; skips the test where there is none."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()]


def places(pattern: re.Pattern[str]) -> list[str]:
    """`file:line: text` of every match of `pattern` in the repository."""
    return [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}"
        for path in tracked_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def locked() -> dict[str, str]:
    """Names in the lock, as people compare them, and the first version of each."""
    lock = (REPOSITORY / "requirements.lock").read_text()
    return {canonical(name): version for name, version in reversed(HEADING.findall(lock))}


def wanted() -> list[Requirement]:
    """What pyproject.toml asks for: the server itself and everything that `dev` brings."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(text) for text in project["dependencies"] + extras["dev"]]
    own = [requirement for requirement in asked if requirement.name == project["name"]]
    nested = [Requirement(text) for extra in sorted(own[0].extras) for text in extras[extra]]
    return [requirement for requirement in asked if requirement not in own] + nested


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_file_names_a_package_registry() -> None:
    """Registries are the machine's own affair: pip, uv and npm know theirs."""
    hosts = ["pypi" + r"\.org", "files.python" + "hosted", "npm" + "js", "deb" + r"\.debian\.org"]
    assert places(re.compile("|".join(hosts))) == []


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    folders = ["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/[a-z]", "/opt/(wheels|p" + "ypi)"]
    assert places(re.compile(rf"(?<![\w.)}}>~-])({'|'.join(folders)})")) == []


def test_nothing_is_left_to_do() -> None:
    """Work that is left lies in the issue tracker."""
    assert places(re.compile(r"\b(" + "TO" + "DO|FIX" + "ME|X" + r"XX)\b")) == []


def test_no_address_in_the_lock() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    assert not re.search(r"://|@ |--(index|extra|find|trusted)", lock)


def test_every_requirement_in_the_lock_has_a_hash() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    requirements = re.split(r"\n(?=[A-Za-z0-9])", lock)[1:]
    assert requirements and all("--hash=sha256:" in requirement for requirement in requirements)


@pytest.mark.parametrize("requirement", wanted(), ids=lambda requirement: requirement.name)
def test_the_lock_holds_what_pyproject_asks_for(requirement: Requirement) -> None:
    """`make lock` was run after pyproject.toml changed."""
    version = locked().get(canonical(requirement.name))
    assert version is not None, f"requirements.lock has no {requirement.name}: run make lock"
    assert requirement.specifier.contains(version), f"requirements.lock has {version}: run make lock"


def test_torch_is_not_in_the_lock() -> None:
    """torch is what models use; whoever develops the server needs none."""
    assert "torch" not in locked()


def test_the_license_is_apache_2() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License\n" in text and "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_knows_this_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert f"## {project['version']}" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_the_readme_says_that_the_project_is_independent() -> None:
    first_screen = (REPOSITORY / "README.md").read_text()[:2500]
    assert "independent of MD.ai" in first_screen and "not a medical device" in first_screen


@pytest.mark.parametrize("option", Settings.model_fields)
def test_the_readme_lists_every_option(option: str) -> None:
    assert f"`--{option.replace('_', '-')}`" in (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_document_for_clients_lists_every_status_and_every_type_of_problem() -> None:
    text = (REPOSITORY / "docs/http.md").read_text()
    for kind, problem in PROBLEMS.items():
        assert re.search(rf"^\| .*\b{problem.status}\b", text, re.MULTILINE), f"{problem.status} of {kind.__name__}"
        slug = re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()
        assert kind in (Exception, PredictFailed) or f"`{slug}`" in text, slug


def test_the_architecture_names_every_module() -> None:
    text = (REPOSITORY / "docs/architecture.md").read_text()
    modules = [
        *REPOSITORY.glob("app/*.py"),
        *REPOSITORY.glob("app/interface/*.py"),
        *REPOSITORY.glob("app/doctor/**/*.py"),
        *REPOSITORY.glob("model_loader/*.py"),
    ]
    named = {path.stem for path in modules} - {"__init__", "about", "errors", "schema_notes"}
    assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", text)] == []


def test_make_without_a_target_lists_the_targets() -> None:
    listed = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    targets = [
        "help",
        "demo",
        "test",
        "test-environments",
        "chaos",
        "chaos-short",
        "soak",
        "fuzz",
        "benchmark",
        "lint",
        "audit",
        "serve",
        "lock",
        "test-build",
        "test-image",
        "clean",
    ]
    assert re.findall(r"make ([\w-]+)", listed)[: len(targets)] == targets
