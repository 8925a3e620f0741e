#!/usr/bin/env bash
# Builds the CPU image and runs it, bakes a package into it and runs that, with buildah and without a registry or a
# daemon: `tools/test_image.sh PYTHON`. PYTHON is that of the development environment. Needs root on Debian, a few
# minutes, and 3 GB in TMPDIR, which are freed at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath --no-symlinks --canonicalize-missing "$1")
test=test-image

fail_early() {
    echo "$test: $*" >&2
    exit 1
}

missing=()
for tool in buildah debootstrap; do
    command -v "$tool" >/dev/null || [ -x "/usr/sbin/$tool" ] || missing+=("$tool")
done
[ "$(id -u)" = 0 ] ||
    fail_early "building a base image takes root. Run it as root, in a throw-away machine or container."
command -v apt-get >/dev/null || fail_early "this needs Debian's apt-get and debootstrap: run it on Debian or Ubuntu."
if [ ${#missing[@]} -gt 0 ]; then
    echo "$test: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null ||
        fail_early "apt-get could not install ${missing[*]}; its words are above."
fi
. tools/images.sh

# Of the machine's pip: its configuration in one file, its certificates, and what it names in the file system. The
# build gets the files as secrets, so that the image keeps nothing of them.
"$python" - "$work" <<'PYTHON'
import os
import sys
from pathlib import Path

from app.build_secrets import BUNDLE, write_secrets

work = Path(sys.argv[1])
secrets = write_secrets(work, os.environ)
if "pip" not in secrets.files:
    (work / "pip.conf").touch()
if "certificates" not in secrets.files:
    (work / "certificates").write_bytes(BUNDLE.read_bytes())
(work / "folders").write_text("".join(f"{path}\n" for path in secrets.mounts))
PYTHON
mapfile -t folders <"$work/folders"
mounts=()
for folder in "${folders[@]}"; do
    mounts+=(--volume "$folder:$folder:ro")
done

say "making a base image with debootstrap"
# The archive that this machine's apt uses; debootstrap's own where it has none for that release.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | sed -n 1p)
empty=$(buildah from scratch)
root=$(buildah mount "$empty")
PATH=$PATH:/usr/sbin debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$root" \
    ${mirror:+"$mirror"} >"$work/debootstrap.log" 2>&1 ||
    { tail -n 20 "$work/debootstrap.log" >&2; stop "debootstrap could not make a base image; its words are above."; }
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
buildah commit --quiet --rm "$empty" base >/dev/null

# build WHAT CONTEXT [OPTION...]: the CPU image, tagged WHAT; the log is $work/WHAT.log.
build() {
    local tag=$1 context=$2
    shift 2
    buildah build --isolation chroot --network host --layers --format docker \
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
cp -r .dockerignore Dockerfile.cpu LICENSE README.md app docs model_loader pyproject.toml requirements*.lock "$work/changed"
echo "# one line more" >>"$work/changed/app/about.py"
build changed "$work/changed"
kept=$(grep -E -A1 'STEP .*: RUN .*(apt-get update|requirements\.(build|server)\.lock)' "$work/changed.log" |
    grep -c 'Using cache') || true
[ "$kept" = 4 ] || { cat "$work/changed.log" >&2; stop "a change of code installed something anew; see above."; }

# Everything below asks the image, not the Dockerfile, how it wants to be run.
container=$(buildah from image)
root=$(buildah mount "$container")
words_of image
"$python" - "$work/image.json" <<'PYTHON'
import json
import sys
from pathlib import Path

config = json.loads(Path(sys.argv[1]).read_text())["Docker"]["config"]
assert config["Healthcheck"]["Test"][0] == "CMD" and config["User"] == "10001:0", config
assert config["ExposedPorts"] == {"6324/tcp": {}}, config
assert config["Labels"]["mdai-model-server.lock.sha256"], config["Labels"]
PYTHON

chmod 0444 "$work/pip.conf" "$work/certificates"
mkdir -m 0700 "$work/cache"
chown 10001 "$work/cache"
volumes=("${folders[@]/%/:}" "$PWD/examples/lung-finder:/model" "$work/pip.conf:/etc/pip.conf"
    "$work/certificates:/etc/ssl/certs/ca-certificates.crt" "$work/cache:/var/cache/mdai-model")

at_run=()
for volume in "${volumes[@]}"; do
    from=${volume%%:*} to=${volume#*:}
    at_run+=(--volume "$from:${to:-$from}")
done
program buildah run --isolation chroot --cap-drop ALL --env TINI_SUBREAPER=1 "${at_run[@]}" \
    "$container" -- "${command[@]}" >"$work/with-buildah"

program unshare --mount --pid --fork bash "$work/read-only" "$root" 10001 "${volumes[@]}" -- "${env[@]}" \
    "${command[@]}" >"$work/with-unshare"
write_health_check() {
    {
        echo '#!/usr/bin/env bash'
        printf '%q ' exec buildah run --isolation chroot "$container" -- env
        echo '"MDAI_MODEL_PORT=$1" \'
        printf '%q ' "${health[@]}"
    } >"$work/health-check"
    chmod +x "$work/health-check"
}
write_health_check
chmod +x "$work/with-buildah" "$work/with-unshare"

# prove SCRIPT [PREFIX...]: the service becomes ready, is healthy, finds two lungs and ends with 0 on SIGTERM.
prove() {
    local script=$1
    shift
    "$@" env PYTHONPATH=examples/lung-finder "$python" - "$script" "$work/health-check" <<'PYTHON'
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

say "baking a package in"
cp -r examples/lung-finder "$work/package"
options=(--from localhost/image -- --isolation chroot --network host)
bake baked "$work/package" "${options[@]}"
say "baking it in again after a change of one line in mdai_deploy.py"
echo "# one line more" >>"$work/package/.mdai/mdai_deploy.py"
begun=$(date +%s%N)
bake again "$work/package" "${options[@]}"
took=$((($(date +%s%N) - begun) / 1000000))
kept_environment again 3
labels_hold again "$work/package"

words_of again
[ ${#health[@]} -gt 0 ] || stop "the image has lost the server's health check."
buildah rm "$container" >/dev/null
container=$(buildah from again)
root=$(buildah mount "$container")
[ ! -s "$root/etc/pip.conf" ] || stop "the image holds this machine's pip configuration."
program unshare --mount --pid --fork bash "$work/read-only" "$root" 12345 -- "${env[@]}" HOME=/ "${command[@]}" \
    >"$work/baked-run"
write_health_check
chmod +x "$work/baked-run"
say "running it: read-only, without a volume and without a network, as a user that the image does not know"
prove "$work/baked-run" without_network "$(command -v env)"
say "proven. The change of one line was baked in within $took ms, and nothing was installed for it;" \
    "/opt/model holds $(bytes_in "$root/opt/model") bytes"
