# The two commands of the README, and those of CONTRIBUTING.md. Each installs what it needs and lacks (scripts/setup.sh).

.PHONY: demo test soak search worlds bench bench-catalog bench-mix fuzz build release deb deb-trial dist kubernetes h2spec deny setup screenshots

## A simulated GeoServer cluster behind a real front door, in one process, with a map page. ARGS="--replicas 5" goes to `geofront demo`.
## The first build takes some minutes, and cargo prints its progress; afterwards the demo is up within 10 s.
demo:
	@scripts/setup.sh build
	cargo run --locked -- demo $(ARGS)

# The worlds of tests/simulation.rs: those of every run, and 64 of the day.
SIM_SEEDS ?= $(shell date +0..256,%Y%m%d000..%Y%m%d064)

## Everything that must hold, Tomcat, MapServer, promtool and Python's client libraries included. ARGS="--test tidy" goes to `cargo test`.
## Chance inputs are the same each time, so that what fails was broken by what changed; `make search` tries others. Only of the
## simulated worlds some change every day: the command that is printed runs them again, and `make test SIM_SEEDS=0..256` runs none.
test:
	@scripts/setup.sh build test
	SIM_SEEDS=$(SIM_SEEDS) PROPTEST_RNG_SEED=$${PROPTEST_RNG_SEED:-1} cargo test --locked $(ARGS)

# Requests of `make soak`.
SOAK_REQUESTS ?= 1000000

## Two tests at length: a million requests with chaos among them (SOAK_REQUESTS=100000 for fewer), with memory and descriptors after each
## tenth, and 20 restarts under 100 000 requests.
soak:
	@scripts/setup.sh build test
	SOAK_REQUESTS=$(SOAK_REQUESTS) SOAK_RESTARTS=20 SOAK_RESTART_REQUESTS=100000 cargo test --locked --test e2e -- --nocapture \
	    --test-threads=1 memory_and_descriptors_stay_flat restarts_under_load

## Other chance requests for the classifier, some minutes of them or CASES=1000000. Commit what it finds to tests/data/ogc/requests.txt.
search:
	@scripts/setup.sh build
	PROPTEST_CASES=$(or $(CASES),200000) cargo test --locked --test ogc_naive --test ogc_fuzz

## Other worlds of the simulation: 2000 that the time of day chooses, or SEEDS=1000..9000.
worlds:
	@scripts/setup.sh build
	SIM_SEEDS=$(or $(SEEDS),$(shell date +%s0000..%s2000)) cargo test --locked --test simulation

## The cost of the hot path, and of a whole request and an idle client beside HAProxy and nginx.
bench:
	@scripts/setup.sh build bench
	cargo bench --locked --bench classify --bench select --bench proxy $(ARGS)

## Wrong answers while an administrator's change spreads, beside HAProxy and nginx with refresh.py. Some minutes.
## ARGS="--only geofront" goes to the bench.
bench-catalog:
	@scripts/setup.sh build bench
	cargo bench --locked --bench catalog -- --full $(ARGS)

# Words in the names of rows: ROWS="brownout freeze".
ROWS ?=
empty :=
comma := ,

## Tiles, maps and heavy requests under load, beside HAProxy and nginx: every row in some 21 minutes, or those with a word in their
## name, ROWS="brownout roll". ARGS="--full" for figures takes most of an hour; ARGS="--seed 7 --front leastconn,defaults" goes to the bench.
bench-mix:
	@scripts/setup.sh build bench
	cargo bench --locked --bench mix -- --table $(if $(strip $(ROWS)),--only $(subst $(empty) $(empty),$(comma),$(strip $(ROWS)))) $(ARGS)

## Chance input for the classifier, a minute of it or SECONDS=600; TARGET=head for the reader of heads. Needs cargo-fuzz and a nightly
## compiler, and says so; what it checks of the classifier, `make test` checks on the corpus and some thousand changes to it, and
## `make search` on more.
fuzz:
	@scripts/setup.sh build
	@scripts/fuzz.sh $(or $(SECONDS),60) $(TARGET)

## h2spec, a conformance suite of HTTP/2 (a Go program), against the real binary, over TLS and without.
h2spec:
	@scripts/setup.sh build
	@scripts/h2spec.sh

## target/release/geofront, the ordinary way.
build:
	@scripts/setup.sh build
	cargo build --release --locked

## target/pgo/geofront, profile-guided: slower to build, faster to run. Falls back to the ordinary way, and says why.
release:
	@scripts/setup.sh build
	@scripts/release.sh

## target/geofront_VERSION_ARCH.deb from the binary that `make build` or `make release` left.
deb:
	@scripts/deb.sh

## Installs, starts, upgrades under load, removes and purges the package of target/release/geofront, in a Debian system that is made
## for it and booted without a network. For root, and some two minutes the first time. ARGS=BINARY packs another.
deb-trial:
	@scripts/setup.sh build deb-trial
	@scripts/deb-trial.sh $(ARGS)

## Lints and renders the Helm chart, and validates it and the plain manifests against the schemas of Kubernetes. Needs Go.
kubernetes:
	@scripts/kubernetes.sh

## target/dist: the package of the binary that `make release` left, a list of its components (SBOM), and their checksums.
dist:
	@scripts/setup.sh build
	@scripts/dist.sh

## Licences, advisories and sources of every dependency. Asks the network for the advisories, so it stands apart from `make test`.
deny:
	@cargo deny --version >/dev/null 2>&1 || { echo "make deny needs cargo-deny: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny --locked check

## docs/images/*.png: the map and the status page of the demo, photographed in headless Chromium. Some seven minutes. ARGS="--only map"
## takes the map only.
screenshots:
	@scripts/setup.sh build test
	cargo build --locked --quiet
	node scripts/screenshots.mjs target/debug/geofront $(ARGS)

## What the targets above need, at once.
setup:
	@scripts/setup.sh build test bench
