#!/bin/sh
# Packs the binary that was built last into target/geofront_VERSION_ARCH.deb.
set -eu
cd "$(dirname "$0")/.."

# The profile-guided one where it is newer.
binary=target/release/geofront
[ target/pgo/geofront -nt "$binary" ] && binary=target/pgo/geofront
[ -x "$binary" ] || { echo "deb: there is no binary: run make build or make release first" >&2; exit 1; }
command -v dpkg-deb >/dev/null || { echo "deb: dpkg-deb is missing: this needs a Debian system" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
arch=$(dpkg --print-architecture)
tree=target/deb
rm -rf "$tree"

put() { install -D -m "$1" "$2" "$tree$3"; }
put 755 "$binary" /usr/bin/geofront
put 644 packaging/geofront.service /lib/systemd/system/geofront.service
put 640 packaging/geofront.toml /etc/geofront/geofront.toml
put 644 packaging/geofront.logrotate /etc/logrotate.d/geofront
put 644 config/example.toml /usr/share/doc/geofront/example.toml
put 644 README.md /usr/share/doc/geofront/README.md
put 644 CHANGELOG.md /usr/share/doc/geofront/CHANGELOG.md
for page in docs/*.md; do put 644 "$page" "/usr/share/doc/geofront/$page"; done
put 644 LICENSE /usr/share/doc/geofront/copyright
for script in postinst prerm postrm; do put 755 "packaging/$script" "/DEBIAN/$script"; done
printf '%s\n' /etc/geofront/geofront.toml /etc/logrotate.d/geofront >"$tree/DEBIAN/conffiles"
cat >"$tree/DEBIAN/control" <<CONTROL
Package: geofront
Version: $version
Architecture: $arch
Maintainer: the geofront developers <geofront@localhost>
Depends: libc6 (>= $(ldd --version | sed -n '1s/.* //p')), passwd
Section: net
Priority: optional
Description: front door of GeoServer clusters
 Balances requests over GeoServer replicas, keeps administration on the main
 instance, checks what each instance really answers, and takes configuration
 changes while it runs.
CONTROL

deb=target/geofront_${version}_$arch.deb
dpkg-deb --root-owner-group --build "$tree" "$deb"
