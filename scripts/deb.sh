#!/bin/sh
# Packs the binary that was built last into target/geofront_VERSION_ARCH.deb.
#
#   scripts/deb.sh [BINARY [DIRECTORY [OPTION OF DPKG-DEB ...]]]
set -eu
cd "$(dirname "$0")/.."

# The profile-guided one where it is newer.
newest=target/release/geofront
[ target/pgo/geofront -nt "$newest" ] && newest=target/pgo/geofront
binary=${1:-$newest}
directory=${2:-target}
[ $# -le 2 ] && set -- || shift 2
[ -x "$binary" ] || { echo "deb: there is no binary: run make build or make release first" >&2; exit 1; }
command -v dpkg-deb >/dev/null || { echo "deb: dpkg-deb is missing: this needs a Debian system" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
arch=$(dpkg --print-architecture)
tree=$directory/deb
rm -rf "$tree"

put() { install -D -m "$1" "$2" "$tree$3"; }
put 755 "$binary" /usr/bin/geofront
put 644 packaging/geofront.service /lib/systemd/system/geofront.service
put 644 packaging/geofront.socket /lib/systemd/system/geofront.socket
put 640 packaging/geofront.toml /etc/geofront/geofront.toml
put 644 packaging/geofront.logrotate /etc/logrotate.d/geofront
put 644 config/example.toml /usr/share/doc/geofront/example.toml
put 644 config/clusters.toml /usr/share/doc/geofront/clusters.toml
put 644 README.md /usr/share/doc/geofront/README.md
put 644 CHANGELOG.md /usr/share/doc/geofront/CHANGELOG.md
for page in docs/*.md; do put 644 "$page" "/usr/share/doc/geofront/$page"; done
put 644 packaging/prometheus/geofront.rules.yml /usr/share/geofront/prometheus/geofront.rules.yml
put 644 packaging/grafana/geofront.json /usr/share/geofront/grafana/geofront.json
for manifest in packaging/kubernetes/*.yaml; do put 644 "$manifest" "/usr/share/geofront/${manifest#packaging/}"; done
(cd packaging && find helm -type f) | while read -r file; do put 644 "packaging/$file" "/usr/share/geofront/$file"; done
put 644 LICENSE /usr/share/doc/geofront/copyright
put 644 src/demo/vendor/leaflet/LICENSE /usr/share/doc/geofront/leaflet.LICENSE
put 644 src/geosim/world.LICENSE /usr/share/doc/geofront/world.LICENSE
# The commands of the binary that is packed, for shells and as manual pages.
bash=/usr/share/bash-completion/completions/geofront
zsh=/usr/share/zsh/vendor-completions/_geofront
fish=/usr/share/fish/vendor_completions.d/geofront.fish
for script in "bash $bash" "zsh $zsh" "fish $fish"; do
    path=${script#* }
    mkdir -p "$tree${path%/*}"
    "$binary" completions "${script%% *}" >"$tree$path"
    chmod 644 "$tree$path"
done
mkdir -p "$tree/usr/share/man/man1" "$tree/usr/share/man/man5"
"$binary" man "$tree/usr/share/man/man1"
mv "$tree/usr/share/man/man1/geofront.toml.5" "$tree/usr/share/man/man5/"
chmod 644 "$tree"/usr/share/man/man*/*
# Without a time stamp, so that two builds are equal.
gzip -9n "$tree"/usr/share/man/man*/*
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

# Files have the time of the commit, so that two packages of one binary are equal.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)}
export SOURCE_DATE_EPOCH
deb=$directory/geofront_${version}_$arch.deb
dpkg-deb "$@" --root-owner-group --build "$tree" "$deb"
