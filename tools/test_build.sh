#!/usr/bin/env bash
# `mdai-model build` with a real engine, in less than a minute: `tools/test_build.sh PYTHON`. PYTHON is that of the
# development environment. In place of the server's image stands one that is empty but for links: what they lead to,
# this machine's system and this project, is mounted into the build and the run. `make test-image` is the whole thing.
# Needs root on Linux, buildah, and a network; where one is missing it says so and ends well.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath --no-symlinks --canonicalize-missing "$1")
test=test-build

missing=()
[ "$(id -u)" = 0 ] || missing+=("root's rights")
for tool in buildah unshare setpriv; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "$test: skipped, no image is built: this takes ${missing[*]}, which is not here."
    exit 0
fi
. tools/images.sh

say "making what stands for the server's image"
mapfile -t shown < <("$python" - <<'PYTHON'
import sys
from pathlib import Path

system = [folder for folder in map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib64")) if folder.is_dir()]
wanted = [*system, Path(sys.base_prefix), Path(sys.prefix).parent]
for path in wanted:
    if not path.is_symlink() and not any(other in path.parents for other in wanted):
        print(path)
PYTHON
)
container=$(buildah from scratch)
root=$(buildah mount "$container")
mkdir -p "$root"/{dev,etc/ssl/certs,proc,sys,opt/server/bin,var/cache} "${shown[@]/#/$root}"
mkdir -p "$root/tmp" "$root/var/cache/mdai-model" && touch "$root/etc/ssl/certs/ca-certificates.crt"
chmod 1777 "$root/tmp" && chmod 0770 "$root/var/cache/mdai-model" && chown 10001 "$root/var/cache/mdai-model"
for folder in /bin /sbin /lib /lib64; do
    [ ! -L "$folder" ] || cp -P "$folder" "$root$folder"
done
[ ! -e /etc/alternatives ] || cp -rP /etc/alternatives "$root/etc"
printf 'root:x:0:0::/:/bin/sh\nmdai:x:10001:0::/var/cache/mdai-model:/bin/sh\n' >"$root/etc/passwd"
ln -s "${python%/*}/mdai-model" "$root/opt/server/bin/mdai-model"
buildah config --user 10001:0 --env PATH=/usr/bin:/bin --env HOME=/var/cache/mdai-model \
    --entrypoint '["/opt/server/bin/mdai-model"]' --cmd serve "$container"
buildah commit --quiet --rm --format docker "$container" server >/dev/null

series=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
"${python%/*}/mdai-model" init "$work/model" >/dev/null
sed -i "s/^base_image: .*/base_image: py${series/./}/" "$work/model/.mdai/config.yaml"
"$python" -c 'print("x" * 2**20)' >"$work/model/weights"
mounts=()
for folder in "${shown[@]}"; do
    mounts+=(--volume "$folder:$folder:ro")
done
options=(--from localhost/server -- --isolation chroot --network host "${mounts[@]}")

say "baking a package in"
bake first "$work/model" "${options[@]}"
say "baking it in again after a change of one line"
echo "# one line more" >>"$work/model/.mdai/mdai_deploy.py"
begun=$(date +%s%N)
bake second "$work/model" "${options[@]}"
took=$((($(date +%s%N) - begun) / 1000000))
kept_environment second 4
labels_hold second "$work/model"

words_of second
container=$(buildah from second)
root=$(buildah mount "$container")
[ ! -s "$root/etc/pip.conf" ] || stop "the image holds this machine's pip configuration."
cmp -s "$work/model/weights" "$root/model/weights" || stop "the image does not hold the package's large file."
program unshare --mount --pid --fork bash "$work/read-only" "$root" 12345 "${shown[@]/%/:}" -- "${env[@]}" \
    "${command[@]}" >"$work/run"
chmod +x "$work/run"

say "running it: read-only, without a volume and without a network, as a user that the image does not know"
without_network "$(command -v env)" PYTHONPATH=examples/lung-finder "$python" - "$work/run" <<'PYTHON'
import json
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import demo

try:
    with demo.service(Path(sys.argv[1]), []) as (process, url):
        demo.wait_ready(process, url, 60)
        outputs = demo.predict(url, demo.request_body(demo.find_radiograph().read_bytes()))
        with urlopen(f"{url}/info") as answer:
            environment = json.load(answer)["environment"]
        assert environment["description"].endswith("(/opt/model/environment/bin/python)"), environment
        assert "numpy" in environment["packages"], environment
        demo.say(f"{len(outputs)} outputs, {len(environment['packages'])} packages in {environment['description']}")
        seconds = demo.stop(process)
    demo.say(f"exit code 0, {seconds:.1f} s after SIGTERM")
except demo.DemoError as failure:
    sys.exit(f"test-build: {failure}")
PYTHON
say "proven. The change of one line was baked in within $took ms, and nothing was installed for it"
