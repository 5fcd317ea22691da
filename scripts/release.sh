#!/bin/sh
# Builds target/pgo/geofront, profile-guided: an instrumented binary serves a typical mix from simulated GeoServers, and the compiler
# lays the real one out for what it saw. Says what is missing, and builds the ordinary way, where that cannot be done.
set -eu
cd "$(dirname "$0")/.."

dir=$PWD/target/pgo
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
seconds=${TRAINING_SECONDS:-30}
mkdir -p "$dir"

ordinary() {
    echo "release: $1" >&2
    echo "release: falling back to the ordinary profile: correct, but about a third more CPU for each request" >&2
    scripts/cargo.sh build --release --locked --bin geofront
    install -m 755 target/release/geofront "$dir/geofront"
    echo "release: target/pgo/geofront (ordinary profile)"
    exit 0
}

# The oldest tool that reads the compiler's profiles is that of the compiler's own LLVM.
profdata() {
    for tool in "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" "/usr/lib/llvm-$llvm/bin/llvm-profdata" llvm-profdata; do
        version=$("$tool" merge --version 2>/dev/null | sed -n 's/.*LLVM version \([0-9]*\).*/\1/p')
        [ "${version:-0}" -ge "$llvm" ] && echo "$tool" && return
    done
    return 1
}

scripts/setup.sh release || true
profdata=$(profdata) || ordinary "there is no llvm-profdata of LLVM $llvm or later: install Debian's llvm-$llvm, or rustup's llvm-tools"

# With --target, flags are for the binary alone and not for build scripts.
build() {
    RUSTFLAGS="${RUSTFLAGS:-} $1" scripts/cargo.sh build --release --locked --target "$host" --target-dir "$2" --bin geofront
}

echo "release: 1 of 3: building the instrumented binary"
rm -rf "$dir/profiles" "$dir/work"
mkdir -p "$dir/profiles" "$dir/work"
build "-Cprofile-generate=$dir/profiles" "$dir/instrumented" || ordinary "the instrumented binary cannot be built here"

echo "release: 2 of 3: training for $seconds s"
scripts/train.sh "$dir/instrumented/$host/release/geofront" "$dir/work" "$seconds" || ordinary "the training failed"
"$profdata" merge -o "$dir/merged.profdata" "$dir/profiles" || ordinary "the profiles could not be merged"

echo "release: 3 of 3: building the optimized binary"
build "-Cprofile-use=$dir/merged.profdata" "$dir/optimized" || ordinary "the optimized binary cannot be built here"
install -m 755 "$dir/optimized/$host/release/geofront" "$dir/geofront"
echo "release: target/pgo/geofront (profile-guided)"
