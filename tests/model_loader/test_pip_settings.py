"""pip's configuration, read with pip's precedence and said in uv's words."""

import os
from pathlib import Path

import pytest

from model_loader.errors import EnvironmentBuildError
from model_loader.pip_settings import PipSettings, read_pip_settings, uv_arguments, uv_environment


class Machine:
    """A machine with every place where pip looks for configuration, all empty."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {"HOME": str(root / "home")}

    def write(self, place: str, text: str) -> Path:
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self) -> PipSettings:
        return read_pip_settings(self.environ, etc=self.root / "etc", prefix=self.root / "prefix")

    def uv(self) -> dict[str, str]:
        """What uv gets beside what was there."""
        seen = uv_environment(self.read(), self.environ)
        return {name: value for name, value in seen.items() if self.environ.get(name) != value}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_without_configuration_changes_only_how_indexes_are_combined(machine: Machine) -> None:
    assert machine.read() == PipSettings()
    assert machine.uv() == {"UV_INDEX_STRATEGY": "unsafe-best-match"}


PLACES = (
    "etc/xdg/pip/pip.conf",
    "etc/pip.conf",
    "home/.pip/pip.conf",
    "home/.config/pip/pip.conf",
    "prefix/pip.conf",
    "venv/pip.conf",
    "named.conf",
)


@pytest.mark.parametrize("last", range(len(PLACES)))
def test_later_places_win_over_earlier_ones(machine: Machine, last: int) -> None:
    machine.environ["VIRTUAL_ENV"] = str(machine.root / "venv")
    for place in PLACES[: last + 1]:
        if place == "named.conf":
            machine.environ["PIP_CONFIG_FILE"] = str(machine.root / place)
        machine.write(place, f"[global]\nindex-url = https://index.invalid/{place}\n")
    assert machine.read().index_url == f"https://index.invalid/{PLACES[last]}"


def test_xdg_variables_move_the_files(machine: Machine) -> None:
    machine.environ["XDG_CONFIG_DIRS"] = f"{machine.root}/one{os.pathsep}{machine.root}/two"
    machine.environ["XDG_CONFIG_HOME"] = str(machine.root / "own")
    machine.write("one/pip/pip.conf", "[global]\ntimeout = 1\nproxy = one.invalid:1\n")
    machine.write("two/pip/pip.conf", "[global]\ntimeout = 2\nretries = 2\n")
    machine.write("own/pip/pip.conf", "[global]\nretries = 3\n")
    machine.write("etc/xdg/pip/pip.conf", "[global]\npre = yes\n")
    settings = machine.read()
    assert (settings.proxy, settings.timeout, settings.retries, settings.pre) == ("one.invalid:1", 2, 3, False)


def test_install_wins_over_global_and_a_variable_over_both(machine: Machine) -> None:
    machine.write("etc/pip.conf", "[install]\ntimeout = 20\n")
    machine.write("home/.config/pip/pip.conf", "[global]\ntimeout = 10\n[download]\ntimeout = 99\n")
    assert machine.read().timeout == 20
    machine.environ["PIP_TIMEOUT"] = "30.2"
    assert machine.read().timeout == 31


def test_a_named_file_replaces_the_users_and_dev_null_replaces_all(machine: Machine) -> None:
    machine.write("etc/pip.conf", "[global]\nretries = 1\n")
    machine.write("home/.config/pip/pip.conf", "[global]\ntimeout = 10\n")
    named = machine.write("named.conf", "[global]\nno-index = true\n")
    machine.environ["PIP_CONFIG_FILE"] = str(named)
    assert machine.read() == PipSettings(retries=1, no_index=True)
    machine.environ["PIP_CONFIG_FILE"] = os.devnull
    assert machine.read() == PipSettings()


def test_empty_values_count_as_absent(machine: Machine) -> None:
    machine.write("etc/pip.conf", "[global]\nindex-url =\ntimeout = 5\n")
    machine.environ["PIP_TIMEOUT"] = ""
    assert machine.read() == PipSettings(timeout=5)


def test_lists_are_split_at_spaces_and_lines_and_names_are_normalised(machine: Machine) -> None:
    machine.write(
        "etc/pip.conf",
        "[global]\nEXTRA_INDEX_URL = https://a.invalid/simple\n    https://b.invalid/simple  file:///c\n"
        "--trusted-host = a.invalid\n  b.invalid:8080\nonly-binary = numpy,scipy\n",
    )
    settings = machine.read()
    assert settings.extra_index_urls == ("https://a.invalid/simple", "https://b.invalid/simple", "file:///c")
    assert settings.trusted_hosts == ("a.invalid", "b.invalid:8080")
    assert settings.only_binary == ("numpy", "scipy")


def test_everything_reaches_uv(machine: Machine) -> None:
    machine.write(
        "etc/pip.conf",
        """[global]
index-url = https://u:p%40w@mirror.invalid/simple
extra-index-url = https://a.invalid/s https://b.invalid/s
find-links = /wheels ~/more https://c.invalid/links
constraint = /etc/one.txt /etc/two.txt
trusted-host = mirror.invalid a.invalid
cert = ~/ca.pem
client-cert = /me.pem
proxy = proxy.invalid:3128
default-timeout = 180
retries = 2
pre = on
keyring-provider = subprocess
no-binary = numpy
only-binary = :all:
""",
    )
    home = machine.environ["HOME"]
    assert machine.uv() == {
        "UV_DEFAULT_INDEX": "https://u:p%40w@mirror.invalid/simple",
        "UV_INDEX": "https://a.invalid/s https://b.invalid/s",
        "UV_FIND_LINKS": f"/wheels,{home}/more,https://c.invalid/links",
        "UV_CONSTRAINT": "/etc/one.txt /etc/two.txt",
        "UV_INSECURE_HOST": "mirror.invalid a.invalid",
        "SSL_CERT_FILE": f"{home}/ca.pem",
        "SSL_CLIENT_CERT": "/me.pem",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://proxy.invalid:3128"),
        **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://proxy.invalid:3128"),
        "UV_HTTP_TIMEOUT": "180",
        "UV_HTTP_RETRIES": "2",
        "UV_PRERELEASE": "allow",
        "UV_KEYRING_PROVIDER": "subprocess",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert uv_arguments(machine.read(), machine.environ) == [
        *("--only-binary", ":all:"),
        *("--no-binary", "numpy"),
    ]


@pytest.mark.parametrize(
    ("option", "variable", "ours"),
    [
        ("index-url = https://a.invalid", "UV_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("index-url = https://a.invalid", "UV_DEFAULT_INDEX", "UV_DEFAULT_INDEX"),
        ("extra-index-url = https://a.invalid", "UV_EXTRA_INDEX_URL", "UV_INDEX"),
        ("find-links = /wheels", "UV_FIND_LINKS", "UV_FIND_LINKS"),
        ("constraint = /c.txt", "UV_CONSTRAINT", "UV_CONSTRAINT"),
        ("timeout = 5", "HTTP_TIMEOUT", "UV_HTTP_TIMEOUT"),
        ("timeout = 5", "UV_INDEX_STRATEGY", "UV_INDEX_STRATEGY"),
    ],
)
def test_a_variable_of_uv_s_own_wins(machine: Machine, option: str, variable: str, ours: str) -> None:
    machine.write("etc/pip.conf", f"[global]\n{option}\n")
    machine.environ[variable] = "9"
    assert ours not in machine.uv()


def test_no_index_reaches_uv_unless_uv_was_given_an_index(machine: Machine) -> None:
    machine.write("etc/pip.conf", "[global]\nno-index = true\n")
    assert uv_arguments(machine.read(), machine.environ) == ["--no-index"]
    machine.environ["UV_DEFAULT_INDEX"] = "https://a.invalid"
    assert uv_arguments(machine.read(), machine.environ) == []
    del machine.environ["UV_DEFAULT_INDEX"]
    machine.environ["PIP_NO_INDEX"] = "0"
    assert uv_arguments(machine.read(), machine.environ) == []


def test_certificates_that_pip_would_believe_are_believed(machine: Machine) -> None:
    """Conda sets SSL_CERT_FILE by itself: what is configured for pip is meant, that is not."""
    machine.environ["REQUESTS_CA_BUNDLE"] = "/requests.pem"
    assert machine.uv()["SSL_CERT_FILE"] == "/requests.pem"
    machine.environ["SSL_CERT_FILE"] = "/conda.pem"
    assert "SSL_CERT_FILE" not in machine.uv()
    machine.environ["PIP_CERT"] = "/pip.pem"
    assert machine.uv()["SSL_CERT_FILE"] == "/pip.pem"
    machine.environ["PIP_CERT"] = str(machine.root)
    assert machine.uv()["SSL_CERT_DIR"] == str(machine.root)


def test_relative_paths_start_where_the_server_was_started(machine: Machine) -> None:
    machine.environ["PIP_FIND_LINKS"] = "wheels"
    assert machine.read().find_links == (str(Path.cwd() / "wheels"),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("index-url = x\n", "no section headers"),
        ("[global]\nno-index = perhaps\n", "neither yes nor no"),
        ("[global]\ntimeout = soon\n", "not a number"),
        ("[global]\ntimeout = inf\n", "not a number"),
    ],
)
def test_configuration_without_meaning_is_refused_with_the_reason(machine: Machine, text: str, reason: str) -> None:
    machine.write("etc/pip.conf", text)
    with pytest.raises(EnvironmentBuildError, match=reason):
        machine.read()


def test_addresses_with_passwords_are_not_shown(machine: Machine) -> None:
    machine.environ |= {
        "PIP_INDEX_URL": "https://u:secret@a.invalid",
        "PIP_EXTRA_INDEX_URL": "https://u:secret@b.invalid",
        "PIP_FIND_LINKS": "https://u:secret@c.invalid",
        "PIP_PROXY": "u:secret@proxy.invalid:1",
    }
    assert "secret" not in repr(machine.read())
