#!/bin/sh
# Lets an instrumented geofront serve a typical mix of requests from simulated GeoServers, and stops it cleanly: only a clean exit
# writes the profile.
#
#   scripts/train.sh BINARY WORK_FOLDER SECONDS
set -eu
cd "$(dirname "$0")/.."
binary=$1
work=$2
seconds=$3

# Unoptimized: it is the front door that is trained, and one fat link less is minutes.
cargo build --locked --example geosim --example typical_mix

simulator=
front=
stop() {
    # Either may have ended already.
    [ -z "$front" ] || kill "$front" 2>/dev/null || true
    [ -z "$simulator" ] || kill "$simulator" 2>/dev/null || true
}
trap stop EXIT

# Waits half a minute for the file $1, as long as the process $2 lives.
wait_for() {
    tries=300
    until [ -s "$1" ]; do
        kill -0 "$2" 2>/dev/null && [ "$tries" -gt 0 ] || { echo "train: $1 did not come" >&2; cat "$work"/*.log >&2; exit 1; }
        tries=$((tries - 1))
        sleep 0.1
    done
}

mkfifo "$work/until"
target/debug/examples/geosim "$work/upstreams.toml" 2 <"$work/until" >"$work/geosim.log" 2>&1 &
simulator=$!
# Held open until this script ends.
exec 9>"$work/until"
wait_for "$work/upstreams.toml" "$simulator"

cat >"$work/geofront.toml" <<CONFIG
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
include = ["upstreams.toml"]
[log]
access = "$work/access.log"
CONFIG
"$binary" run --config "$work/geofront.toml" --ports-file "$work/ports.json" >"$work/geofront.log" 2>&1 9>&- &
front=$!
wait_for "$work/ports.json" "$front"

address=$(sed -n 's/.*"listen":\["\([^"]*\)".*/\1/p' "$work/ports.json")
# The first answers come when the first probes have passed.
tries=100
until target/debug/examples/typical_mix "$address" 1 1 >/dev/null 2>&1; do
    [ "$tries" -gt 0 ] || { echo "train: nobody serves" >&2; cat "$work/geofront.log" >&2; exit 1; }
    tries=$((tries - 1))
done
target/debug/examples/typical_mix "$address" "$seconds" 16

kill -TERM "$front"
wait "$front" || { echo "train: geofront did not end cleanly" >&2; cat "$work/geofront.log" >&2; exit 1; }
front=
