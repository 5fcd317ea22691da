#!/bin/sh
# Runs h2spec, a conformance suite of HTTP/2, against the real binary. Installs it into target/tools first, where it is not there.
# `scripts/h2spec.sh install` does only that.
set -eu
cd "$(dirname "$0")/.."
if [ ! -x target/tools/h2spec ]; then
    command -v go >/dev/null 2>&1 || {
        echo "h2spec: go is missing: install the Debian package golang-go" >&2
        exit 1
    }
    GOBIN="$PWD/target/tools" go install github.com/summerwind/h2spec/cmd/h2spec@latest
fi
[ "${1:-}" = install ] && exit
cargo test --locked --features h2spec --test real h2spec
