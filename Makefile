# Everything that is done with this project. `make` alone builds the tools.
PREFIX ?= /usr/local

.DEFAULT_GOAL := build
.PHONY: build test lint demo bench bench-peers soak setup install

build:
	cargo build --workspace

# All tests of the tools, then the sample app's own.
test:
	scripts/test

# Format, clippy without a warning, licences of all dependencies.
lint:
	scripts/lint

# The tools at work on the sample app, in a directory of its own.
demo: build
	scripts/demo

# How long things take, beside other ways to do them.
bench:
	cargo build --release --workspace
	scripts/bench/run

# Beside other deployment tools: time, CPU, lost requests (scripts/setup --peers).
bench-peers:
	cargo build --release --workspace
	scripts/bench/peers

# The cutover tests, and those that break, kill and race every command, in their long form; files of migrations with any name and any bytes.
soak: build
	SOAK=1 cargo test --package tests --test integration -- --nocapture traffic faults power writes zoo
	SOAK=1 cargo test --package migrate --test cli -- concurrency layouts
	PROPTEST_CASES=20000 cargo test --package common --lib -- migrations::
	PROPTEST_CASES=20000 cargo test --package migrate --bin migrate -- engine lint tokens

# What the build, the tests and the demo need.
setup:
	scripts/setup

install:
	scripts/install "$(PREFIX)"
