# The whole project in a few words; `make help` lists them. Each target says here what it does, and scripts/ and xtask
# hold how.

export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
SHELL := /bin/bash
BUILT := $(or $(CARGO_TARGET_DIR),target)/release

.PHONY: help demo player media test soak fuzz bench endure check deny sbom deb setup clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## install what is missing, build, start a server with test cameras and a worker that finds people, print its address
	@scripts/setup.sh demo
	@$(MAKE) --no-print-directory player
	cargo build --release --locked -p heldar-server -p heldar-decoder
	$(BUILT)/heldar demo

player: ## build the embeddable player, which the binary then carries
	cd web/player && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build

media: ## draw and encode every clip of the test cameras' scene, once
	@scripts/setup.sh build
	cargo run -q --release --locked -p heldar-testcam --example make_media -- media

test: ## install what is missing, then everything that a change must pass
	@scripts/setup.sh test
	cargo run -q --locked -p xtask -- ci

soak: ## the long tests with full counts: kills, full disks, clock steps, lost databases, the simulation, requests as every role
	@scripts/setup.sh test
	cargo run -q --locked -p xtask -- soak

fuzz: ## a minute of invented bytes for each parser that a viewer can reach
	@scripts/setup.sh test
	scripts/fuzz.sh 60

bench: ## measure recording, live view, memory, export, index, frames and detections on this machine; takes an hour and a half, with nothing beside it
	@scripts/setup.sh test
	cargo build --release --locked -p heldar-server -p heldar-decoder -p people-counter
	$(BUILT)/heldar bench idle
	$(BUILT)/heldar bench record --cameras 32 --clip A
	$(BUILT)/heldar bench record --cameras 16 --clip B
	$(BUILT)/heldar bench record --cameras 1 --clip A --seconds 180
	$(BUILT)/heldar bench live
	cd e2e && npm ci --no-audit --no-fund && npm run latency
	$(BUILT)/heldar bench access
	$(BUILT)/heldar bench restart
	$(BUILT)/heldar bench export
	$(BUILT)/heldar bench index --segments 3000000
	$(BUILT)/heldar bench index --segments 1000000
	$(BUILT)/heldar bench ingest
	$(BUILT)/people-counter bench ingest
	$(BUILT)/heldar bench detections
	$(BUILT)/heldar bench frames --runs 3
	$(BUILT)/heldar bench scrub

endure: ## the long measurements: 256 cameras for ten minutes, memory over half an hour, an hour with viewers and exports
	@scripts/setup.sh test
	cargo build --release --locked -p heldar-server
	$(BUILT)/heldar bench endure --cameras 256 --clip A --viewers 0 --export-mbit 0 --seconds 600
	$(BUILT)/heldar bench endure --cameras 32 --clip A --viewers 0 --export-mbit 0 --seconds 1800
	$(BUILT)/heldar bench endure --cameras 8 --clip B --viewers 4 --export-mbit 100 --seconds 3600

check: ## only the quick part of that: house rules, formatting, compiler warnings
	cargo run -q --locked -p xtask -- check

deny: ## licences, sources and known advisories of all dependencies (asks the network)
	@scripts/setup.sh test
	cargo run -q --locked -p xtask -- deny

deb: ## a Debian package of the server, with access control and TLS on: target/deb
	@scripts/setup.sh build
	@$(MAKE) --no-print-directory player
	cargo build --release --locked -p heldar-server -p heldar-decoder
	scripts/deb.sh $(BUILT)/heldar $(or $(CARGO_TARGET_DIR),target)/deb

sbom: ## list every package that the binary is made of (CycloneDX), in target/sbom
	@scripts/sbom.sh

setup: ## install what building, running and testing need
	@scripts/setup.sh test

clean: ## remove what was built; recordings and settings stay
	cargo clean
