#!/bin/sh
# Runs cargo with the paths of this machine taken out of the output: the same commit gives the same binary, whatever folder it is built in
# and whoever builds it. `make reproducible` compares two builds.
set -eu
cd "$(dirname "$0")/.."

here=$PWD
home=${CARGO_HOME:-$HOME/.cargo}
target=${CARGO_TARGET_DIR:-$here/target}
separator=$(printf '\037')

# Of several that match, rustc takes the last.
flags=--remap-path-prefix=$home=/cargo$separator--remap-path-prefix=$here=/geofront$separator--remap-path-prefix=$target=/geofront/target
for flag in ${RUSTFLAGS:-}; do
    flags=$flags$separator$flag
done
export CARGO_ENCODED_RUSTFLAGS="$flags"
unset RUSTFLAGS

# The C sources of dependencies. One of them has __DATE__ and __TIME__; a constant also fits objects of an earlier build.
export SOURCE_DATE_EPOCH=315532800
# A compiler's flags cannot have blanks.
case $home$here in
*[[:space:]]*) ;;
*) export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$home=/cargo -ffile-prefix-map=$here=/geofront" ;;
esac

exec cargo "$@"
