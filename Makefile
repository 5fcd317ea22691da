# The two commands of the README, and those of CONTRIBUTING.md. Each installs the packages that it needs (scripts/setup.sh).

.PHONY: demo test soak search worlds bench bench-catalog bench-mix fuzz build release reproducible deb deb-trial image-trial dist kubernetes dashboard h2spec deny setup screenshots

## A simulated GeoServer cluster behind a real front door, in one process, with a map page. ARGS="--replicas 5" goes to `geofront demo`.
## The first build takes some minutes, and cargo prints its progress; afterwards the demo is up within 10 s.
demo:
	@scripts/setup.sh build
	cargo run --locked -- demo $(ARGS)

# Seeds of the worlds in tests/simulation.rs: 256 that are always run, and 64 that change every day.
SIM_SEEDS ?= $(shell date +0..256,%Y%m%d000..%Y%m%d064)

## Runs every test, including those against Tomcat, MapServer, promtool and Python's client libraries. ARGS="--test tidy" goes to
## `cargo test`.
## Random inputs are the same each time, so that a failure is due to a change of the code; `make search` tries other inputs. Only some of
## the simulated worlds change every day: the printed command repeats them, and `make test SIM_SEEDS=0..256` leaves them out.
test:
	@scripts/setup.sh build test
	SIM_SEEDS=$(SIM_SEEDS) PROPTEST_RNG_SEED=$${PROPTEST_RNG_SEED:-1} cargo test --locked $(ARGS)

# Requests of `make soak`.
SOAK_REQUESTS ?= 1000000

## Runs two tests at length: a million requests during injected faults (SOAK_REQUESTS=100000 for fewer), with memory and descriptors after each
## tenth, and 20 restarts under 100 000 requests.
soak:
	@scripts/setup.sh build test
	SOAK_REQUESTS=$(SOAK_REQUESTS) SOAK_RESTARTS=20 SOAK_RESTART_REQUESTS=100000 cargo test --locked --test e2e -- --nocapture \
	    --test-threads=1 memory_and_descriptors_stay_flat restarts_under_load

## Tests the classifier with other random requests, for some minutes or CASES=1000000. Add findings to tests/data/ogc/requests.txt.
search:
	@scripts/setup.sh build
	PROPTEST_CASES=$(or $(CASES),200000) cargo test --locked --test ogc_naive --test ogc_fuzz

## Runs other worlds of the simulation: 2000 seeds from the current time, or SEEDS=1000..9000.
worlds:
	@scripts/setup.sh build
	SIM_SEEDS=$(or $(SEEDS),$(shell date +%s0000..%s2000)) cargo test --locked --test simulation

## Measures the hot path; and the cost of a request and of an idle client, compared with HAProxy and nginx.
bench:
	@scripts/setup.sh build bench
	cargo bench --locked --bench classify --bench select --bench proxy $(ARGS)

## Counts wrong answers while a published change spreads, compared with HAProxy and nginx with refresh.py. Takes some minutes.
## ARGS="--only geofront" goes to the bench.
bench-catalog:
	@scripts/setup.sh build bench
	cargo bench --locked --bench catalog -- --full $(ARGS)

# Rows of the benchmark to run, by words in their names: ROWS="brownout freeze".
ROWS ?=
empty :=
comma := ,

## Measures tiles, maps and heavy requests under load, compared with HAProxy and nginx. All rows take some 21 minutes; ROWS="brownout roll"
## runs the rows with one of these words in their names. ARGS="--full", for publishable figures, takes most of an hour.
## ARGS="--seed 7 --front leastconn,defaults" goes to the bench.
bench-mix:
	@scripts/setup.sh build bench
	cargo bench --locked --bench mix -- --table $(if $(strip $(ROWS)),--only $(subst $(empty) $(empty),$(comma),$(strip $(ROWS)))) $(ARGS)

## Fuzzes the classifier for a minute or SECONDS=600; TARGET=head fuzzes the parser of request heads. Needs cargo-fuzz and a nightly
## compiler. `make test` checks the same properties of the classifier on the corpus and some thousand mutations of it, and `make search` on
## more.
fuzz:
	@scripts/setup.sh build
	@scripts/fuzz.sh $(or $(SECONDS),60) $(TARGET)

## Runs h2spec, a conformance suite of HTTP/2 (a Go program), against the real binary, with and without TLS.
h2spec:
	@scripts/setup.sh build
	@scripts/h2spec.sh

## Builds target/release/geofront without a profile: the same binary from the same commit, in every folder.
build:
	@scripts/setup.sh build
	scripts/cargo.sh build --release --locked

## Builds target/pgo/geofront with profile-guided optimization: slower to build, faster to run. If that fails, prints the reason and builds
## without a profile.
release:
	@scripts/setup.sh build
	@scripts/release.sh

## Builds the last commit in two folders and compares the binaries; PROFILE=release compares those of `make build`.
reproducible:
	@scripts/setup.sh build
	@scripts/reproducible.sh

## Builds target/geofront_VERSION_ARCH.deb from the binary of `make build` or `make release`, whichever is newer.
deb:
	@scripts/deb.sh

## Installs, starts, upgrades under load, removes and purges the package of target/release/geofront, in a Debian system that is made
## for it and booted without a network. Needs root, and takes some two minutes the first time. ARGS=BINARY packs another binary.
deb-trial:
	@scripts/setup.sh build deb-trial
	@scripts/deb-trial.sh $(ARGS)

## Builds the container image with the binary of `make build`, and runs it before a simulated cluster: without root, on a read-only root
## file system, with its health check. Needs root and podman. ARGS=BINARY takes another binary.
image-trial:
	@scripts/setup.sh build image-trial
	@scripts/image-trial.sh $(ARGS)

## Lints and renders the Helm chart, and validates it and the plain manifests against the schemas of Kubernetes. Needs Go.
kubernetes:
	@scripts/kubernetes.sh

## Validates the Grafana dashboard against the schema that Grafana publishes. Needs Go.
dashboard:
	@scripts/dashboard.sh

## Fills target/dist with the package of the binary of `make release`, a list of its components (SBOM), and checksums.
dist:
	@scripts/setup.sh build
	@scripts/dist.sh

## Checks licences, advisories and sources of every dependency. It downloads the advisories, so it is not part of `make test`.
deny:
	@cargo deny --version >/dev/null 2>&1 || { echo "make deny needs cargo-deny: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny --locked check

## Renders docs/images/*.png, the map and the status page of the demo, in headless Chromium. Takes some seven minutes. ARGS="--only map"
## renders the map only.
screenshots:
	@scripts/setup.sh build test
	cargo build --locked --quiet
	node scripts/screenshots.mjs target/debug/geofront $(ARGS)

## Installs the packages for all targets above.
setup:
	@scripts/setup.sh build test bench
