#!/usr/bin/env bash
# Makes the development environment: `tools/setup.sh VENV`. Needs Python 3.11 or newer and nothing else.
set -euo pipefail
venv=$1

stop() {
    echo "Set-up: $*" >&2
    exit 1
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

python=
for candidate in python3.11 python3; do
    if new_enough "$candidate"; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || stop "no Python 3.11 or newer found as python3.11 or python3. Install one and run make again."

is_root_on_debian() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

apt_install() {
    echo "Set-up: installing $1"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1"; } >/dev/null
}

# Debian keeps the part of Python that makes environments in a package of its own.
can_make_environments() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null
}

if ! can_make_environments; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    is_root_on_debian ||
        stop "this Python cannot make virtual environments. Install its venv module" \
            "(Debian and Ubuntu: sudo apt-get install $package) and run make again."
    apt_install "$package" ||
        stop "apt-get could not install $package; its words are above. Install it and run make again."
    can_make_environments || stop "$package is installed, and $python still cannot make virtual environments."
fi

if ! command -v curl >/dev/null; then
    { is_root_on_debian && apt_install curl; } ||
        echo "Set-up: curl is missing; the one test that needs it will be skipped"
fi

if ! new_enough "$venv/bin/python"; then
    echo "Set-up: making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi

echo "Set-up: installing the locked requirements (once; a minute or two)"
pip=("$venv/bin/python" -m pip -qq --disable-pip-version-check install --progress-bar off)
"${pip[@]}" --require-hashes --requirement requirements.lock ||
    stop "the locked requirements could not be installed; pip's words are above."
"${pip[@]}" --no-deps --no-build-isolation --editable . ||
    stop "the project itself could not be installed; pip's words are above."
