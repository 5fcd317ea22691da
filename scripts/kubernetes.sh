#!/bin/sh
# Lints and renders the Helm chart, and validates what it renders and the plain manifests against the schemas of Kubernetes. Needs Go
# (for helm) and Python, and the registries of both for the first run.
set -eu
cd "$(dirname "$0")/.."
chart=packaging/helm/geofront
tools=$PWD/target/tools
work=target/kubernetes
helm_version=v3.16.4
validator_version=1.37.0

fail() {
    echo "kubernetes: $1" >&2
    exit 1
}

if ! "$tools/bin/helm" version --template '{{.Version}}' 2>/dev/null | grep -q "${helm_version%.*}"; then
    command -v go >/dev/null || fail "go is missing, which builds helm: apt install golang"
    GOBIN=$tools/bin go install "helm.sh/helm/v3/cmd/helm@$helm_version"
fi
if ! [ -x "$tools/python/bin/kubernetes-validate" ]; then
    python3 -m venv "$tools/python" || fail "python3-venv is missing: apt install python3-venv"
    "$tools/python/bin/pip" install --quiet "kubernetes-validate==$validator_version"
fi
helm() { "$tools/bin/helm" "$@"; }
validate() { "$tools/python/bin/kubernetes-validate" --strict --no-warn "$@"; }

rm -rf "$work"
mkdir -p "$work"
helm lint --quiet --strict "$chart"
helm template geofront "$chart" >"$work/default.yaml"
# Everything that is off by default.
helm template maps "$chart" --namespace gis --set persistence.enabled=true,persistence.storageClass=fast,service.type=LoadBalancer \
    --set serviceMonitor.enabled=true,existingSecret=mine,image.tag=v1,nodeSelector.disk=ssd,podAnnotations.a=b \
    --set 'image.pullSecrets={registry},tolerations[0].key=maps,tolerations[0].operator=Exists' \
    --set affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1 \
    --set affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey=host >"$work/all.yaml"
validate "$work/default.yaml" "$work/all.yaml" packaging/kubernetes/geofront.yaml

# The checks above can fail.
sed 's/readOnlyRootFilesystem/readOnlyRoot/' "$work/default.yaml" >"$work/wrong.yaml"
if validate --quiet "$work/wrong.yaml" >"$work/wrong.log" 2>&1; then fail "a wrong manifest is valid"; fi
if helm template geofront "$chart" --set replica=2 >"$work/wrong.log" 2>&1; then fail "an unknown value is accepted"; fi

# With its defaults, the chart renders the plain manifests, apart from labels and the image.
"$tools/python/bin/python" - "$work/default.yaml" packaging/kubernetes/geofront.yaml <<'PYTHON'
import sys

import yaml


def objects(path):
    found = {}
    for item in yaml.safe_load_all(open(path)):
        if item is not None:
            plain(item)
            found[item["kind"]] = item
    return found


def plain(value):
    if isinstance(value, list):
        for item in value:
            plain(item)
    elif isinstance(value, dict):
        for key in ("labels", "matchLabels", "selector", "image", "imagePullPolicy"):
            value.pop(key, None)
        if value.get("type") == "ClusterIP":
            del value["type"]
        for item in value.values():
            plain(item)


rendered, manifests = objects(sys.argv[1]), objects(sys.argv[2])
for kind in sorted(rendered.keys() | manifests.keys()):
    if rendered.get(kind) != manifests.get(kind):
        sys.exit(f"kubernetes: {kind} of the chart and of the plain manifests differ:\n"
                 f"{yaml.dump(rendered.get(kind))}\n{yaml.dump(manifests.get(kind))}")
PYTHON
echo "kubernetes: the chart and the manifests are valid, and agree"
