#!/bin/sh
# Validates the Grafana dashboard against the schema that Grafana publishes as Go types. Needs Go, and its module registry for the first
# run.
set -eu
cd "$(dirname "$0")/.."
dashboard=packaging/grafana/geofront.json
check=target/tools/bin/check-dashboard
mkdir -p target/tools/bin target/dashboard

fail() {
    echo "dashboard: $1" >&2
    exit 1
}

command -v go >/dev/null || fail "go is missing: apt install golang"
go -C scripts/dashboard build -o "$PWD/$check" .
"$check" "$dashboard"

# The check can fail.
for change in 's/"schemaVersion"/"schemaversion"/' 's/"graphTooltip": 1/"graphTooltip": "shared"/' 's/"colorMode"/"colourMode"/'; do
    sed "$change" "$dashboard" >target/dashboard/wrong.json
    ! "$check" target/dashboard/wrong.json >/dev/null 2>&1 || fail "a dashboard changed by $change passes"
done
echo "dashboard: valid"
