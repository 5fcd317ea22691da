#!/bin/sh
# Builds the last commit in two folders and compares the binaries. PROFILE=release takes the release profile, which takes long twice.
# Arguments go to cargo.
set -eu
cd "$(dirname "$0")/.."

profile=${PROFILE:-dev}
folder=$profile
[ "$profile" = dev ] && folder=debug
work=$PWD/target/reproducible
rm -rf "$work"
mkdir -p "$work"

for place in one another/and/deeper; do
    mkdir -p "$work/$place"
    git archive HEAD | tar -x -C "$work/$place"
    echo "reproducible: building in $work/$place"
    env -u CARGO_TARGET_DIR "$work/$place/scripts/cargo.sh" build --locked --quiet --bin geofront --profile "$profile" "$@"
done
one=$work/one/target/$folder/geofront
other=$work/another/and/deeper/target/$folder/geofront
if ! cmp "$one" "$other"; then
    echo "reproducible: the binaries differ" >&2
    exit 1
fi
for path in "$work" "${CARGO_HOME:-$HOME/.cargo}"; do
    if grep -qaF "$path" "$one"; then
        echo "reproducible: the binary has the path $path" >&2
        exit 1
    fi
done
echo "reproducible: equal, $(sha256sum "$one" | cut -c 1-64)"
