#!/bin/sh
# Gathers a release in target/dist: the Debian package, the list of its components (SBOM, CycloneDX 1.5), the profile that its binary was
# built with, and the checksums of all.
#
#   scripts/dist.sh [BINARY]
set -eu
cd "$(dirname "$0")/.."
binary=${1:-target/pgo/geofront}
dist=target/dist
cyclonedx=0.5.9

[ -x "$binary" ] || { echo "dist: there is no $binary: run make release first" >&2; exit 1; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
PATH=$PWD/target/tools/bin:$PATH
if ! cargo cyclonedx --version 2>/dev/null | grep -q "$cyclonedx\$"; then
    cargo install --quiet --locked --root target/tools --version "$cyclonedx" cargo-cyclonedx
fi

rm -rf "$dist"
mkdir -p "$dist"
scripts/deb.sh "$binary" target >/dev/null
cp "target/geofront_${version}_$(dpkg --print-architecture).deb" "$dist/"

# The list is written beside Cargo.toml. Its time and number are those of the commit, so that two lists of a commit are equal.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps \
    --override-filename geofront.cdx
# It names this folder in the identifiers of the crate.
sed "s|path+file://$PWD|path+file:///geofront|" geofront.cdx.json >"$dist/geofront-$version.cdx.json"
rm geofront.cdx.json

# With it, `make release` elsewhere can build the same binary: a profile differs from run to run.
if [ "$binary" = target/pgo/geofront ] && [ -e target/pgo/merged.profdata ]; then
    cp target/pgo/merged.profdata "$dist/geofront-$version.profdata"
fi
(cd "$dist" && sha256sum -- * >SHA256SUMS)
ls "$dist"
