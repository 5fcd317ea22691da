#!/bin/sh
# Installs what a make target needs and this machine lacks, from Debian's packages; for `test` also the Python clients of
# tests/real/clients, into target/clients. Does nothing where nothing is missing.
#
#   scripts/setup.sh build|test|bench|deb-trial|image-trial|release ...
#
# Services that come with a package are not started: only the programs are used, each test starts its own.
set -eu
cd "$(dirname "$0")/.."

# What a group needs, a line each: a program or file that tells whether it is there, and the package that brings it.
needs() {
    case "$1" in
    build)
        echo "gcc gcc"
        echo "cmake cmake"
        ;;
    test)
        echo "java default-jre-headless"
        echo "/usr/share/tomcat10/bin/catalina.sh tomcat10-common"
        echo "/usr/lib/cgi-bin/mapserv cgi-mapserver"
        echo "ogrinfo gdal-bin"
        echo "promtool prometheus"
        echo "pebble pebble"
        echo "chromium chromium"
        echo "node nodejs"
        echo "/usr/share/doc/python3-venv python3-venv"
        ;;
    bench)
        echo "haproxy haproxy"
        echo "nginx nginx"
        echo "taskset util-linux"
        ;;
    deb-trial)
        echo "debootstrap debootstrap"
        echo "systemd-nspawn systemd-container"
        ;;
    image-trial)
        echo "podman podman"
        echo "runc runc"
        echo "debootstrap debootstrap"
        ;;
    release)
        # Profiles are read by the tool of the LLVM that the compiler was built with, or a later one.
        llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
        echo "/usr/lib/llvm-$llvm/bin/llvm-profdata llvm-$llvm"
        ;;
    *)
        echo "setup: no group is called '$1': build, test, bench, deb-trial, image-trial or release" >&2
        exit 64
        ;;
    esac
}

is_there() {
    case "$1" in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] ;;
    esac
}

# Packages of the groups $@ whose program is not there.
missing_packages() {
    for group in "$@"; do
        needs "$group" | while read -r sign package; do
            is_there "$sign" || echo "$package"
        done
    done
}

give_up() {
    echo "setup: $1" >&2
    echo "setup: please install these Debian packages: $missing" >&2
    exit 1
}

# Debian starts a package's services when it is installed, unless this file forbids it.
POLICY=/usr/sbin/policy-rc.d

install() {
    if [ ! -e "$POLICY" ]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo tee "$POLICY" >/dev/null
        $sudo chmod 755 "$POLICY"
        trap '$sudo rm -f "$POLICY"' EXIT
    fi
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
}

# Installs the packages in $missing, for the groups $@.
install_packages() {
    command -v apt-get >/dev/null 2>&1 || give_up "this is not a Debian system, packages cannot be installed here"
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || give_up "packages can only be installed by root, and there is no sudo"
        sudo=sudo
    fi
    echo "setup: installing $missing"
    install || { $sudo apt-get update && install; } || give_up "apt-get failed"

    still=$(missing_packages "$@" | sort -u | tr '\n' ' ')
    [ -z "$still" ] || { missing=$still; give_up "these are still not there"; }
}

# Where the Python clients are. The copy of their list says that all of them were installed.
CLIENTS=target/clients
LIST=tests/real/clients/requirements.txt

install_clients() {
    cmp -s "$LIST" "$CLIENTS/requirements.txt" && return
    echo "setup: installing the Python clients of $LIST into $CLIENTS"
    rm -rf "$CLIENTS"
    mkdir -p target
    /usr/bin/python3 -m venv "$CLIENTS" &&
        "$CLIENTS/bin/pip" install --quiet --disable-pip-version-check --requirement "$LIST" || {
        echo "setup: pip could not install the clients of $LIST: the tests of them fail without a package index" >&2
        exit 1
    }
    cp "$LIST" "$CLIENTS/requirements.txt"
}

command -v cargo >/dev/null 2>&1 || {
    echo "setup: cargo is missing: install Rust first, as https://rustup.rs says" >&2
    exit 1
}
for group in "$@"; do needs "$group" >/dev/null; done
missing=$(missing_packages "$@" | sort -u | tr '\n' ' ')
[ -z "$missing" ] || install_packages "$@"
case " $* " in *" test "*) install_clients ;; esac
