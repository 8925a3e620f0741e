#!/usr/bin/env bash
# Builds the CPU image and runs it, with buildah and without a registry or a daemon: `tools/test_image.sh PYTHON`.
# PYTHON is that of the development environment. Needs root on Debian, a few minutes,
# and 2 GB in TMPDIR, which are freed at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1

stop() {
    echo "test-image: $*" >&2
    exit 1
}

say() {
    echo "test-image: $*"
}

missing=()
for tool in buildah debootstrap; do
    command -v "$tool" >/dev/null || [ -x "/usr/sbin/$tool" ] || missing+=("$tool")
done
[ "$(id -u)" = 0 ] || stop "building a base image takes root. Run it as root, in a throw-away machine or container."
command -v apt-get >/dev/null || stop "this needs Debian's apt-get and debootstrap: run it on Debian or Ubuntu."
if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null ||
        stop "apt-get could not install ${missing[*]}; its words are above."
fi

work=$(mktemp -d)
storage=(buildah --root "$work/storage" --runroot "$work/runroot" --storage-driver)
# vfs works everywhere, and copies the whole image for each step: ten times as slow where overlay works too.
if (
    trap "${storage[*]} overlay rm --all" EXIT
    "${storage[@]}" overlay mount "$("${storage[@]}" overlay from scratch)"
) >/dev/null 2>&1; then
    storage+=(overlay)
else
    rm -rf "$work/storage" "$work/runroot"
    storage+=(vfs)
fi

clean_up() {
    "${storage[@]}" rm --all >/dev/null 2>&1 || true
    umount "$work/storage/overlay" 2>/dev/null || true
    # A folder of this machine that is still mounted in there must not be deleted with it.
    if grep -qF " $work/" /proc/self/mountinfo; then
        echo "test-image: something is still mounted below $work; unmount it and delete that folder." >&2
    else
        rm -rf "$work"
    fi
}
trap clean_up EXIT

# Of the machine's pip: its configuration in one file, its certificates, and the folders that it names. The build
# gets the files as secrets, so that the image keeps nothing of them.
"$python" - "$work" <<'PYTHON'
import os
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from model_loader.pip_settings import read_pip_settings

work, settings = Path(sys.argv[1]), read_pip_settings(os.environ)
bundle = Path("/etc/ssl/certs/ca-certificates.crt")
certificates = Path(settings.cert or os.environ.get("SSL_CERT_FILE") or bundle)
named = [*filter(None, [settings.index_url]), *settings.extra_index_urls, *settings.find_links, *settings.constraints]
local = {unquote(urlsplit(name).path) for name in named if urlsplit(name).scheme in ("", "file")}
options = {
    "cert": bundle,
    "index-url": settings.index_url,
    "extra-index-url": " ".join(settings.extra_index_urls),
    "find-links": " ".join(settings.find_links),
    "constraint": " ".join(settings.constraints),
    "trusted-host": " ".join(settings.trusted_hosts),
    "proxy": settings.proxy,
}
lines = [f"{name} = {value}" for name, value in options.items() if value]
(work / "pip.conf").write_text("\n".join(["[global]", *lines, ""]).replace("%", "%%"))
(work / "certificates").write_bytes(certificates.read_bytes())
# An index's folder links to a neighbour with its files.
folders = {str(Path(name).parent) if Path(name).name == "simple" else name.rstrip("/") for name in local}
(work / "folders").write_text("".join(f"{name}\n" for name in sorted(folders) if Path(name).exists()))
PYTHON
mapfile -t folders <"$work/folders"
mounts=()
for folder in "${folders[@]}"; do
    mounts+=(--volume "$folder:$folder:ro")
done

say "making a base image with debootstrap"
# The archive that this machine's apt uses; debootstrap's own where it has none for that release.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | sed -n 1p)
empty=$("${storage[@]}" from scratch)
root=$("${storage[@]}" mount "$empty")
PATH=$PATH:/usr/sbin debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$root" \
    ${mirror:+"$mirror"} >"$work/debootstrap.log" 2>&1 ||
    { tail -n 20 "$work/debootstrap.log" >&2; stop "debootstrap could not make a base image; its words are above."; }
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
"${storage[@]}" commit --quiet --rm "$empty" base >/dev/null

# build WHAT CONTEXT [OPTION...]: the CPU image, tagged WHAT; the log is $work/WHAT.log.
build() {
    local tag=$1 context=$2
    shift 2
    "${storage[@]}" build --isolation chroot --network host --layers --format docker \
        --build-arg BASE_IMAGE=localhost/base \
        --build-arg LOCK_SHA256="$(sha256sum requirements.server.lock | cut -d ' ' -f 1)" \
        --secret id=pip,src="$work/pip.conf" --secret id=certificates,src="$work/certificates" \
        "${mounts[@]}" --file "$context/Dockerfile.cpu" --tag "$tag" "$@" "$context" >"$work/$tag.log" 2>&1 ||
        { tail -n 40 "$work/$tag.log" >&2; stop "the image could not be built; buildah's words are above."; }
}

say "building the image"
build image .

say "building it again after a change of one line in app/"
mkdir "$work/changed"
cp -r .dockerignore Dockerfile.cpu LICENSE README.md app model_loader pyproject.toml requirements*.lock "$work/changed"
echo "# one line more" >>"$work/changed/app/about.py"
build changed "$work/changed"
kept=$(grep -E -A1 'STEP .*: RUN .*(apt-get update|requirements\.(build|server)\.lock)' "$work/changed.log" |
    grep -c 'Using cache') || true
[ "$kept" = 3 ] || { cat "$work/changed.log" >&2; stop "a change of code installed something anew; see above."; }

# Everything below asks the image, not the Dockerfile, how it wants to be run.
container=$("${storage[@]}" from image)
root=$("${storage[@]}" mount "$container")
"${storage[@]}" inspect --type image image >"$work/image.json"
"$python" - "$work" <<'PYTHON'
import json
import sys
from pathlib import Path

work = Path(sys.argv[1])
image = json.loads((work / "image.json").read_text())
config = image["Docker"]["config"]
kind, *health = config["Healthcheck"]["Test"]
assert kind == "CMD" and config["User"] == "10001:0" and config["ExposedPorts"] == {"6324/tcp": {}}, config
assert config["Labels"]["mdai-model-server.lock.sha256"], config["Labels"]
for name, words in {"command": config["Entrypoint"] + config["Cmd"], "health": health, "env": config["Env"]}.items():
    (work / name).write_text("".join(f"{word}\0" for word in words))
PYTHON
mapfile -d '' -t command <"$work/command"
mapfile -d '' -t health <"$work/health"
mapfile -d '' -t env <"$work/env"

chmod 0444 "$work/pip.conf" "$work/certificates"
mkdir -m 0700 "$work/cache"
chown 10001 "$work/cache"
volumes=("${folders[@]/%/:}" "$PWD/examples/lung-finder:/model" "$work/pip.conf:/etc/pip.conf"
    "$work/certificates:/etc/ssl/certs/ca-certificates.crt" "$work/cache:/var/cache/mdai-model")

# The ways to run it, as programs that the demo takes for `mdai-model`: `SCRIPT serve PACKAGE OPTION...`. What a
# supervisor sends goes to tini, because neither buildah nor unshare passes signals on.
program() {
    echo '#!/usr/bin/env bash'
    echo 'shift 2'
    printf '%q ' "$@"
    cat <<'PROGRAM'
"$@" &
outer=$!

tini_below() {
    local child
    for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
        if [ "$(cat "/proc/$child/comm")" = tini ]; then echo "$child"; else tini_below "$child"; fi
    done
}

trap 'kill -TERM $(tini_below "$outer")' TERM
code=0
wait "$outer" || code=$?
while kill -0 "$outer" 2>/dev/null; do # a signal ended the wait
    code=0
    wait "$outer" || code=$?
done
exit "$code"
PROGRAM
}

mounts=()
for volume in "${volumes[@]}"; do
    from=${volume%%:*} to=${volume#*:}
    mounts+=(--volume "$from:${to:-$from}")
done
program "${storage[@]}" run --isolation chroot --cap-drop ALL --env TINI_SUBREAPER=1 "${mounts[@]}" \
    "$container" -- "${command[@]}" >"$work/with-buildah"

# Read-only, as docker-compose.yml has it, is beyond `buildah run`; the kernel does it without an engine.
cat >"$work/read-only" <<'READONLY'
set -euo pipefail
root=$1
shift
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
while [ "$1" != -- ]; do
    to=${1#*:}
    mount --bind "${1%%:*}" "$root${to:-${1%%:*}}"
    shift
done
shift
exec chroot "$root" setpriv --reuid 10001 --regid 0 --clear-groups --bounding-set=-all --no-new-privs env -i "$@"
READONLY
program unshare --mount --pid --fork bash "$work/read-only" "$root" "${volumes[@]}" -- "${env[@]}" "${command[@]}" \
    >"$work/with-unshare"
{
    echo '#!/usr/bin/env bash'
    printf '%q ' exec "${storage[@]}" run --isolation chroot "$container" -- env
    echo '"MDAI_MODEL_PORT=$1" \'
    printf '%q ' "${health[@]}"
} >"$work/health-check"
chmod +x "$work/with-buildah" "$work/with-unshare" "$work/health-check"

# prove SCRIPT: the service becomes ready, is healthy, finds two lungs and ends with 0 on SIGTERM.
prove() {
    PYTHONPATH=examples/lung-finder "$python" - "$1" "$work/health-check" <<'PYTHON'
import subprocess
import sys
from pathlib import Path

import demo

try:
    radiograph = demo.find_radiograph()
    with demo.service(Path(sys.argv[1]), []) as (process, url):
        demo.wait_ready(process, url, 600)
        subprocess.run([sys.argv[2], url.rpartition(":")[2]], check=True)
        demo.say("the image's own health check agrees")
        outputs = demo.predict(url, demo.request_body(radiograph.read_bytes()))
        demo.check(outputs)
        demo.say(f"two boxes: {[output['data'] for output in outputs]}")
        seconds = demo.stop(process)
    demo.say(f"exit code 0, {seconds:.1f} s after SIGTERM")
except demo.DemoError as failure:
    sys.exit(f"test-image: {failure}")
PYTHON
}

say "running it with buildah: as user 10001, without capabilities"
prove "$work/with-buildah"

say "running it again: read-only but for /tmp and the cache, tini as process 1, no new privileges"
prove "$work/with-unshare"

bytes_in() {
    du --summarize --bytes "$@" | awk '{ sum += $1 } END { print sum }'
}
own=("$root"/opt/server/lib/python3*/site-packages/{app,model_loader,mdai_model_server-*})
say "proven. /opt/server holds $(bytes_in "$root/opt/server") bytes, of them $(bytes_in "${own[@]}") the project's own"
