# What the tests of images share; sourced, with $test the name before each line, and $python the development Python.
# Afterwards buildah works in a storage of its own below $work, which is gone at the end.

stop() {
    echo "$test: $*" >&2
    exit 1
}

say() {
    echo "$test: $*"
}

work=$(mktemp -d)
export CONTAINERS_STORAGE_CONF=$work/storage.conf

storage() {
    printf '[storage]\ndriver = "%s"\ngraphroot = "%s/storage"\nrunroot = "%s/runroot"\n' "$1" "$work" "$work" \
        >"$CONTAINERS_STORAGE_CONF"
}

# vfs works everywhere, and copies the whole image for each step: ten times as slow where overlay works too.
storage overlay
if ! (
    trap 'buildah rm --all' EXIT
    buildah mount "$(buildah from scratch)"
) >/dev/null 2>&1; then
    rm -rf "$work/storage" "$work/runroot"
    storage vfs
fi

clean_up() {
    buildah rm --all >/dev/null 2>&1 || true
    umount "$work/storage/overlay" 2>/dev/null || true
    # A folder of this machine that is still mounted in there must not be deleted with it.
    if grep -qF " $work/" /proc/self/mountinfo; then
        echo "$test: something is still mounted below $work; unmount it and delete that folder." >&2
    else
        rm -rf "$work"
    fi
}
trap clean_up EXIT

# bake TAG PACKAGE [OPTION...]: `mdai-model build` with buildah; the log is $work/TAG.log.
bake() {
    local tag=$1 package=$2
    shift 2
    "${python%/*}/mdai-model" build "$package" --tag "$tag" --engine buildah "$@" >"$work/$tag.log" 2>&1 ||
        { tail -n 40 "$work/$tag.log" >&2; stop "the package could not be baked in; buildah's words are above."; }
}

# A change of one line of the model's code: nothing may be installed for it, nor the environment be made again.
kept_environment() {
    local kept
    kept=$(grep -E -A1 'STEP .*: (RUN .*mdai-model env|COPY (environment|large|--from=environment) )' "$work/$1.log" |
        grep -c 'Using cache') || true
    if [ "$kept" != "$2" ] || grep -qE 'Installing|Installed|Building the environment' "$work/$1.log"; then
        cat "$work/$1.log" >&2
        stop "a change of one line in mdai_deploy.py installed something anew; see above."
    fi
}

# words_of IMAGE: sets `command`, `health` and `env` to what the image says of itself.
words_of() {
    buildah inspect --type image "$1" >"$work/image.json"
    "$python" - "$work" <<'PYTHON'
import json
import sys
from pathlib import Path

work = Path(sys.argv[1])
config = json.loads((work / "image.json").read_text())["Docker"]["config"]
health = config.get("Healthcheck", {}).get("Test", ["CMD"])[1:]
for name, words in {"command": config["Entrypoint"] + config["Cmd"], "health": health, "env": config["Env"]}.items():
    (work / name).write_text("".join(f"{word}\0" for word in words))
PYTHON
    mapfile -d '' -t command <"$work/command"
    mapfile -d '' -t health <"$work/health"
    mapfile -d '' -t env <"$work/env"
}

# labels_hold IMAGE PACKAGE: the image names the digest of what it was made of.
labels_hold() {
    buildah inspect --type image "$1" >"$work/image.json"
    "$python" - "$work/image.json" "$2" <<'PYTHON'
import json
import sys
from pathlib import Path

from model_loader.digest import content_digest

labels = json.loads(Path(sys.argv[1]).read_text())["Docker"]["config"]["Labels"]
assert labels["mdai-model.package.digest"] == content_digest(Path(sys.argv[2]).resolve()), labels
PYTHON
}

# Programs that the demo takes for `mdai-model`: `SCRIPT serve PACKAGE OPTION...`. What a supervisor sends goes to the
# server or its tini, because neither buildah nor unshare passes signals on.
program() {
    echo '#!/usr/bin/env bash'
    echo 'shift 2'
    printf '%q ' "$@"
    cat <<'PROGRAM'
"$@" &
outer=$!

first_below() {
    local child
    for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
        case $(cat "/proc/$child/comm") in
            tini | mdai-model) echo "$child" ;;
            *) first_below "$child" ;;
        esac
    done
}

trap 'kill -TERM $(first_below "$outer")' TERM
code=0
wait "$outer" || code=$?
while kill -0 "$outer" 2>/dev/null; do # a signal ended the wait
    code=0
    wait "$outer" || code=$?
done
exit "$code"
PROGRAM
}

# read_only ROOT USER VOLUME... -- COMMAND...: as docker-compose.yml has it, which is beyond `buildah run`; the kernel
# does it without an engine.
cat >"$work/read-only" <<'READONLY'
set -euo pipefail
root=$1 user=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
while [ "$1" != -- ]; do
    to=${1#*:}
    to=$root${to:-${1%%:*}}
    [ -e "$to" ] || mkdir -p "$to" # below /tmp
    mount --bind "${1%%:*}" "$to"
    shift
done
shift
exec chroot "$root" setpriv --reuid "$user" --regid 0 --clear-groups --bounding-set=-all --no-new-privs env -i "$@"
READONLY

# without_network COMMAND...: the only network is the loopback of a namespace of its own.
without_network() {
    unshare --net "$python" -c '
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    request = struct.pack("16sH14x", b"lo", 0)
    flags = struct.unpack("16sH14x", fcntl.ioctl(probe, 0x8913, request))[1]
    fcntl.ioctl(probe, 0x8914, struct.pack("16sH14x", b"lo", flags | 1))
os.execv(sys.argv[1], sys.argv[1:])
' "$@"
}
