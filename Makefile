# make demo   a device connects through a gateway, in a laboratory of its own
# make test   every quick check; make test-all adds the slow ones

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test test-all check-targets bench fuzz build install uninstall needs needs-all needs-bench

KEEP ?=
export KEEP

help:
	@sed -n 's/^# //p' Makefile

needs:
	@build-scripts/needs test

needs-all:
	@build-scripts/needs test-all

needs-bench:
	@build-scripts/needs bench

build:
	cargo build --release --locked -p weftd -p weft-cli -p weft-gateway

demo: needs
	@build-scripts/demo

test: needs
	@build-scripts/test

test-all: needs-all
	@build-scripts/test-all

# make check-targets: types and lints for Android, Apple's systems and Windows
check-targets: needs
	@build-scripts/check-targets

bench: needs-bench
	@build-scripts/bench

# make fuzz TIME=600 TARGET=wg_quick (every target where none is named)
fuzz:
	@build-scripts/fuzz $(TARGET)

include packaging/install.mk
