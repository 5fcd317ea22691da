#!/bin/sh
# Installs, starts, upgrades, removes and purges the Debian package in a Debian system made for it, which systemd-nspawn boots without
# a network. Needs root, debootstrap and systemd-nspawn, and Debian's packages for the first run.
#
#   scripts/deb-trial.sh [BINARY]
set -eu
cd "$(dirname "$0")/.."
binary=${1:-target/release/geofront}
work=target/deb-trial
template=$work/template
system=$work/system
boot=

fail() {
    echo "deb-trial: $1" >&2
    [ -z "$boot" ] || inside journalctl --no-pager --lines 40 --unit geofront.service >&2 || true
    exit 1
}

# Ends the system that this run booted.
stop() {
    [ -z "$boot" ] || kill "$boot" 2>/dev/null || true
    [ -z "$boot" ] || wait "$boot" 2>/dev/null || true
    boot=
}
trap stop EXIT

[ "$(id -u)" = 0 ] || fail "only root can boot a system: sudo make deb-trial"
for tool in debootstrap systemd-nspawn nsenter; do
    command -v "$tool" >/dev/null || fail "$tool is missing: apt install debootstrap systemd-container util-linux"
done
[ -x "$binary" ] || fail "there is no $binary: run make build first"
cargo build --locked --quiet --example geosim

# Runs a command in the booted system.
inside() {
    nsenter --target "$(pgrep --parent "$boot" --oldest)" --mount --uts --ipc --net --pid -- \
        env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# Repeats a command until it succeeds, at most 60 s.
await() {
    deadline=$(($(date +%s) + 60))
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$deadline" ] || fail "not within 60 s: $*"
        sleep 0.2
    done
}

if ! [ -e "$template/complete" ]; then
    echo "deb-trial: a Debian system is made, once"
    rm -rf "$template"
    mkdir -p "$work"
    mirror=$(sed -n 's/^URIs: *//p; s/^deb \(\[.*\] \)*\(http[^ ]*\).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
        head -n 1)
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,passwd,curl,logrotate stable "$template" "$mirror" \
        >"$work/debootstrap.log" 2>&1 || fail "debootstrap failed, see $work/debootstrap.log"
    : >"$template/complete"
fi

echo "deb-trial: two versions are packed"
rm -rf "$system" "$work/packages"
mkdir -p "$work/packages"
scripts/deb.sh "$binary" "$work/packages" -Znone >/dev/null
first=$(ls "$work"/packages/*.deb)
dpkg-deb -R "$first" "$work/packages/next"
sed -i 's/^Version: .*/&+next/' "$work/packages/next/DEBIAN/control"
dpkg-deb -Znone --root-owner-group --build "$work/packages/next" "$work/packages/next.deb" >/dev/null
cp -a "$template" "$system"
cp "$first" "$system/srv/first.deb"
cp "$work/packages/next.deb" "$system/srv/next.deb"
cp target/debug/examples/geosim "$system/usr/local/bin/geosim"

systemd-nspawn --quiet --directory "$system" --register=no --keep-unit --private-network --console=pipe --boot \
    >"$work/boot.log" 2>&1 &
boot=$!
await inside systemctl is-active multi-user.target

echo "deb-trial: it is installed"
inside dpkg --install /srv/first.deb >/dev/null 2>"$work/dpkg.log" || fail "the installation failed, see $work/dpkg.log"
inside systemctl is-active --quiet geofront.service && fail "the service runs before it is configured"
inside geofront check /etc/geofront/geofront.toml >/dev/null || fail "the packaged configuration is refused"
[ "$(inside stat -c '%U:%G %a' /etc/geofront/geofront.toml)" = "root:geofront 640" ] || fail "the configuration is not the service's"

echo "deb-trial: it serves a simulated cluster"
inside systemd-run --quiet --unit geosim sh -c 'sleep infinity | geosim /etc/geofront/upstreams.toml 2'
await inside test -s /etc/geofront/upstreams.toml
inside chgrp geofront /etc/geofront/upstreams.toml
printf 'listen = "0.0.0.0:8080"\nadmin = "127.0.0.1:9090"\ninclude = "upstreams.toml"\n' |
    inside tee /etc/geofront/geofront.toml >/dev/null
inside systemctl enable --quiet --now geofront.socket geofront.service 2>>"$work/dpkg.log" || fail "the service does not start"
map='http://127.0.0.1:8080/geoserver/wms?service=WMS&version=1.1.1&request=GetMap&layers=geor:elevation&styles=&bbox=-180,-90,180,90&width=64&height=64&srs=EPSG:4326&format=image/png'
draw() { inside curl --silent --fail --output /dev/null --write-out '%{content_type}' "$map"; }
[ "$(draw)" = image/png ] || fail "there is no map"
main_pid() { inside systemctl show --value --property MainPID geofront.service; }
[ "$(inside stat --format %U "/proc/$(main_pid)")" = geofront ] || fail "the service does not run as its own user"

echo "deb-trial: a broken configuration changes nothing"
inside cp -p /etc/geofront/geofront.toml /srv/good.toml
printf 'nonsense = 1\n' | inside tee -a /etc/geofront/geofront.toml >/dev/null
inside systemctl reload geofront.service 2>/dev/null && fail "a broken configuration was accepted"
[ "$(draw)" = image/png ] || fail "there is no map after a refused configuration"
inside cp -p /srv/good.toml /etc/geofront/geofront.toml
inside systemctl reload geofront.service || fail "the good configuration is refused"

echo "deb-trial: it is upgraded under load"
inside sh -c 'until [ -e /srv/upgraded ]; do
    curl --silent --fail --output /dev/null "$1" || echo lost
    echo sent
done' load "$map" >"$work/load.log" &
load=$!
await grep -q sent "$work/load.log"
before=$(main_pid)
inside dpkg --install /srv/next.deb >/dev/null 2>>"$work/dpkg.log" || fail "the upgrade failed, see $work/dpkg.log"
[ "$(main_pid)" != "$before" ] || fail "the upgrade did not restart the service"
[ "$(draw)" = image/png ] || fail "there is no map after the upgrade"
inside touch /srv/upgraded
wait "$load"
grep -q lost "$work/load.log" && fail "the upgrade lost requests: $(grep -c lost "$work/load.log") of $(grep -c sent "$work/load.log")"
cmp -s "$system/srv/good.toml" "$system/etc/geofront/geofront.toml" || fail "the upgrade changed the configuration"

echo "deb-trial: it is removed and purged"
inside dpkg --remove geofront >/dev/null 2>>"$work/dpkg.log" || fail "the removal failed, see $work/dpkg.log"
inside systemctl is-active --quiet geofront.service && fail "the service outlives its package"
[ -e "$system/etc/geofront/geofront.toml" ] || fail "the removal took the configuration away"
inside dpkg --purge geofront >/dev/null 2>>"$work/dpkg.log" || fail "the purge failed, see $work/dpkg.log"
for left in /etc/geofront/geofront.toml /var/lib/geofront /var/log/geofront /etc/logrotate.d/geofront /usr/bin/geofront; do
    [ ! -e "$system$left" ] || fail "the purge left $left"
done
echo "deb-trial: passed, with $(grep -c sent "$work/load.log") requests during the upgrade and none lost"
