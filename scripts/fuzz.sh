#!/bin/sh
# Fuzzes the classifier or the reader of heads for a while: `scripts/fuzz.sh [SECONDS] [classify|head]`. Starts from fuzz/corpus, ends
# with the first input for which something does not hold (fuzz/artifacts keeps it), or when the time is over.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
target=${2:-classify}

lacks() {
    echo "fuzz: $1" >&2
    echo "fuzz: nothing was fuzzed; \`cargo test --test ogc_fuzz\` runs the same checks on the corpus, and on changes to it, without" >&2
    exit 1
}

cargo fuzz --version >/dev/null 2>&1 || lacks "cargo-fuzz is missing: cargo install --locked cargo-fuzz"
cargo +nightly --version >/dev/null 2>&1 || lacks "libFuzzer's instrumentation needs a nightly compiler: rustup toolchain install nightly"

# New inputs go to a folder that is not kept; what is worth keeping is put into the corpus by hand.
mkdir -p "fuzz/found/$target"
set -- "fuzz/found/$target" "fuzz/corpus/$target" -- -max_total_time="$seconds" -max_len=12000
[ ! -e "fuzz/$target.dict" ] || set -- "$@" -dict="fuzz/$target.dict"
cargo +nightly fuzz run "$target" "$@"
