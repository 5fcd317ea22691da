#!/bin/sh
# Builds the container image from packaging/Containerfile and runs it before a simulated cluster: without root, on a read-only root file
# system, with its health check. Needs root, podman, runc and debootstrap, and Debian's packages for the first run. Everything, podman's
# storage included, is in target/image-trial. The container shares the machine's network, and uses its loopback addresses only.
#
#   scripts/image-trial.sh [BINARY]
set -eu
cd "$(dirname "$0")/.."
binary=${1:-target/release/geofront}
work=$PWD/target/image-trial
context=$work/context
simulation=

run() {
    podman --root "$work/storage" --runroot "$work/runroot" --storage-driver vfs --runtime runc --cgroup-manager cgroupfs "$@" \
        2>>"$work/podman.log"
}

fail() {
    echo "image-trial: $1" >&2
    run logs geofront >&2 2>/dev/null || true
    exit 1
}

stop() {
    [ -z "$simulation" ] || kill "$simulation" 2>/dev/null || true
    run rm --force --ignore geofront >/dev/null 2>&1 || true
}
trap stop EXIT

# Repeats a command until it succeeds, at most 60 s.
await() {
    deadline=$(($(date +%s) + 60))
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$deadline" ] || fail "not within 60 s: $*"
        sleep 0.2
    done
}

[ "$(id -u)" = 0 ] || fail "only root can make a Debian system: sudo make image-trial"
for tool in podman runc debootstrap curl; do
    command -v "$tool" >/dev/null || [ -x "/usr/sbin/$tool" ] || fail "$tool is missing: apt install podman runc debootstrap curl"
done
[ -x "$binary" ] || fail "there is no $binary: run make build first"
mkdir -p "$work"
: >"$work/podman.log"
cargo build --locked --quiet --example geosim

# The base image is Debian's own; where no registry is reachable, a Debian system of the same release stands for it.
base=$(sed -n 's/^FROM //p' packaging/Containerfile)
release=${base#*:}
if ! run image exists "$base" && ! run pull --quiet "docker.io/library/$base" >/dev/null; then
    echo "image-trial: a Debian system is made, once"
    mirror=$(sed -n 's/^URIs: *//p; s/^deb \(\[.*\] \)*\(http[^ ]*\).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
        head -n 1)
    rm -rf "$work/debian"
    debootstrap --variant=minbase "${release%-slim}" "$work/debian" "$mirror" >"$work/debootstrap.log" 2>&1 ||
        fail "debootstrap failed, see $work/debootstrap.log"
    tar --create --directory "$work/debian" --exclude=./var/cache . | run import - "docker.io/library/$base" >/dev/null ||
        fail "the Debian system is no image, see $work/podman.log"
    rm -rf "$work/debian"
fi

echo "image-trial: the image is built"
rm -rf "$context"
mkdir -p "$context/target/release"
git ls-files -z packaging config docs src/demo/vendor src/geosim/world.LICENSE | xargs -0 cp --parents --target-directory "$context"
cp "$binary" "$context/target/release/geofront"
run build --isolation chroot --format docker --pull=never --file packaging/Containerfile --tag geofront "$context" >"$work/build.log" 2>&1 ||
    fail "the build failed, see $work/build.log and $work/podman.log"

echo "image-trial: it serves a simulated cluster"
rm -f "$work/upstreams.toml" "$work/stdin"
mkfifo "$work/stdin"
target/debug/examples/geosim "$work/upstreams.toml" 2 <"$work/stdin" >"$work/geosim.log" 2>&1 &
simulation=$!
exec 3>"$work/stdin"
await test -s "$work/upstreams.toml"
{
    printf 'listen = "127.0.0.1:18980"\nadmin = "127.0.0.1:18990"\n'
    cat "$work/upstreams.toml"
} >"$work/geofront.toml"
chmod 644 "$work/geofront.toml"
# podman's own limits are more than some machines allow.
run run --detach --name geofront --network host --read-only --tmpfs /var/lib/geofront:U --healthcheck-interval disable \
    --ulimit "nofile=$(ulimit -Hn):$(ulimit -Hn)" --ulimit nproc=4096:4096 \
    --volume "$work/geofront.toml:/etc/geofront/geofront.toml:ro" geofront >/dev/null || fail "the container does not start, see $work/podman.log"
map='http://127.0.0.1:18980/geoserver/wms?service=WMS&version=1.1.1&request=GetMap&layers=geor:elevation&styles=&bbox=-180,-90,180,90&width=64&height=64&srs=EPSG:4326&format=image/png'
draw() { curl --silent --fail --output /dev/null --write-out '%{content_type}' "$map"; }
await draw
[ "$(draw)" = image/png ] || fail "there is no map"
[ "$(run exec geofront id --user)" = 10001 ] || fail "it does not run as its own user"
run exec geofront sh -c 'touch /usr/bin/other' && fail "its root file system can be written"
run healthcheck run geofront >/dev/null || fail "it is not healthy while it serves"

echo "image-trial: it keeps its state, and stops when it is told to"
run exec geofront geofront drain replica1 >/dev/null || fail "the command line does not reach it"
await run exec geofront test -s /var/lib/geofront/catalog.json
kill "$simulation"
simulation=
unhealthy() { ! run healthcheck run geofront; }
await unhealthy
run stop --time 20 geofront >/dev/null
[ "$(run inspect geofront --format '{{.State.ExitCode}}')" = 0 ] || fail "it did not stop by itself"
echo "image-trial: passed"
