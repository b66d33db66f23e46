# vibepeak_keys: the commands of the project. Each is one script in tools/.
#
# PG_CONFIG  which PostgreSQL to build for, and for install, uninstall and installcheck
#            which one to act on
# MAJORS     where PG_CONFIG is not given: on which major versions to test, for
#            example "16 17"
# PROFILE    release (default) or dev: how the library is built
# DESTDIR    put before the destination of "make install"
# FUZZ_SECONDS  for how long "make fuzz" runs each of its targets

PG_CONFIG ?= pg_config
PROFILE ?= release
export PG_CONFIG PROFILE DESTDIR

.DEFAULT_GOAL := build
.PHONY: help setup developer-setup build install uninstall installcheck demo demo-stop lint lint-all clean \
        test test-all test-assertions test-valgrind test-asan test-soak fuzz \
        test-unit test-regress test-isolation test-upgraded test-cluster \
        bench bench-indexes bench-inside bench-issuing bench-preload bench-profile bench-scale

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-16s %s\n", $$1, $$2 }'

developer-setup: ## make "cargo pgrx run" work for you
	@tools/developer-setup

setup: ## install what building and testing need, where it is missing
	@tools/setup test

build: ## build the extension (the default)
	@tools/build

install: build ## install into the PostgreSQL of PG_CONFIG
	@tools/install

uninstall: ## remove the files from the PostgreSQL of PG_CONFIG
	@tools/uninstall

installcheck: ## run the SQL tests against the running server of PG_CONFIG
	@tools/installcheck

demo: ## start a private server and walk through a key's life
	@tools/demo start

demo-stop: ## stop the server of the demo and remove it
	@tools/demo stop

test: export MAJORS ?= 15 18
test: ## run every test, on PostgreSQL 15 and 18
	@tools/test/run unit fuzz regress isolation upgraded cluster

test-all: export MAJORS = 15 16 17 18
test-all: ## run every test, on every supported major version
	@tools/test/run unit fuzz regress isolation upgraded cluster

test-assertions: ## SQL tests on a server that checks its own assertions, built from source
	@tools/test/assertions

test-unit: ## tests of the pure Rust modules
	@tools/test/run unit

test-regress: ## SQL tests (pg_regress) on a throwaway server
	@tools/test/run regress

test-isolation: ## tests of concurrent sessions on a throwaway server
	@tools/test/run isolation

test-upgraded: ## SQL tests in databases that were made with released versions
	@tools/test/run upgraded

test-cluster: ## tests in Rust that run servers of their own
	@tools/test/run cluster

fuzz: ## fuzz the pure modules, each target for FUZZ_SECONDS (15)
	@tools/test/run fuzz

test-valgrind: ## SQL tests on a server under valgrind (some 20 minutes)
	@tools/test/run valgrind

test-asan: export MAJORS ?= 18
test-asan: ## SQL tests with the library built for AddressSanitizer
	@tools/test/run asan

test-soak: ## crashes, faults and memory for as long as it takes: an hour or more
	@VIBEPEAK_SOAK=1 tools/test/rust-tests cluster fault_crashes fault_disk fault_interrupts fault_limits fault_sessions memory::

bench: ## compare verifications with SELECT 1 and with other ways, side by side
	@bench/run

bench-inside: ## only what a verification costs inside the server
	@bench/inside

bench-profile: ## show where a verification spends its time
	@bench/profile

bench-preload: ## measure what it costs to have the library preloaded
	@bench/preload

bench-issuing: ## measure many keys made by one statement against plain SQL
	@bench/issuing

bench-indexes: ## compare ways to find a key by its hash
	@bench/indexes

bench-scale: ## measure tables of 10 thousand to 10 million keys
	@bench/scale

lint: export MAJORS ?= 15 18
lint: ## formatting, clippy, crates, SQL scripts, shell scripts, rules of the source tree
	@tools/lint/run

lint-all: export MAJORS = 15 16 17 18
lint-all: ## the same, with clippy for every supported major version
	@tools/lint/run

clean: ## remove what was built, here and in the scratch folder
	@tools/clean
