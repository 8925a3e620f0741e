#!/usr/bin/env bash
# Writes the locks from pyproject.toml: `tools/lock.sh UV [--upgrade]`.
# Names, exact versions and hashes for every platform, and no addresses: the machine's own index and wheel folders
# are neither asked nor written down.
set -euo pipefail
uv=$1
shift

unset UV_INDEX UV_DEFAULT_INDEX UV_INDEX_URL UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_CONSTRAINT

# lock FILE WHAT SOURCE [OPTION...]: FILE, which begins by saying WHAT it holds.
lock() {
    local file=$1 what=$2
    shift 2
    "$uv" --no-config --quiet pip compile \
        --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header \
        --output-file "$file" "$@" >/dev/null
    {
        echo "# $what, exactly. Written by make lock from pyproject.toml; not by hand."
        cat "$file"
    } >"$file.new"
    mv "$file.new" "$file"
    echo "$file: $(grep -c '^[a-z0-9].*==' "$file") packages"
}

lock requirements.lock "Everything that make installs" pyproject.toml --extra dev "$@"
# Images are made with the versions that the tests ran with.
as_tested=(--constraint requirements.lock --no-annotate)
lock requirements.server.lock "What an image of the server holds" pyproject.toml --extra otel "${as_tested[@]}"
sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml |
    lock requirements.build.lock "What the server is built with in an image" - "${as_tested[@]}"
