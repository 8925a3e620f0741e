#!/usr/bin/env bash
# Writes requirements.lock from pyproject.toml: `tools/lock.sh UV [--upgrade]`.
# Names, exact versions and hashes for every platform, and no addresses: the machine's own index and wheel folders
# are neither asked nor written down.
set -euo pipefail
uv=$1
shift

unset UV_INDEX UV_DEFAULT_INDEX UV_INDEX_URL UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_CONSTRAINT
"$uv" --no-config --quiet pip compile pyproject.toml --extra dev \
    --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header \
    --output-file requirements.lock "$@" >/dev/null

{
    echo "# Everything that make installs, exactly. Written by make lock from pyproject.toml; not by hand."
    cat requirements.lock
} >requirements.lock.new
mv requirements.lock.new requirements.lock
echo "requirements.lock: $(grep -c '^[a-z0-9].*==' requirements.lock) packages"
