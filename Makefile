# vibepeak_keys: the commands of the project. Each calls one script of tools/ or bench/.
#
# PG_CONFIG  the PostgreSQL to build for, and the one that install, uninstall and installcheck
#            work on
# MAJORS     the major versions to test on when PG_CONFIG is not given, for example "16 17"
# PROFILE    how the library is built: release (the default) or dev
# DESTDIR    a folder that "make install" puts before each path
# FUZZ_SECONDS    how long "make fuzz" runs each target
# ATTACK_SECONDS  how long "make test-attack" tries, all parts together
# UPGRADED_FROM   "ends": "make test-upgraded" upgrades only from the oldest and the newest version
# VIBEPEAK_SEED   the seed of random tests, to repeat a run that has printed it

PG_CONFIG ?= pg_config
PROFILE ?= release
export PG_CONFIG PROFILE DESTDIR

.DEFAULT_GOAL := build
.PHONY: help all setup developer-setup build install uninstall installcheck deb dist oci demo \
        demo-stop clean check test test-all test-attack test-attack-itself test-packages \
        test-assertions test-valgrind test-asan test-soak test-loom fuzz test-unit test-regress \
        test-isolation test-upgraded test-cluster test-examples test-page docs lint lint-all bench \
        bench-versions bench-first bench-flush bench-indexes bench-inside bench-instructions \
        bench-issuing bench-limits bench-office bench-preload bench-profile bench-reach bench-scale bench-tasks

##@ For users

help: ## show this list
	@awk -F ':.*## ' '/^##@ / { printf "%s%s:\n", blank, substr($$0, 5); blank = "\n" } \
		/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

setup: ## install what building and testing need and is missing
	@tools/setup test

build: ## build the extension (the default)
	@tools/build

all: build ## the same as build

install: build ## install into the PostgreSQL of PG_CONFIG
	@tools/install

uninstall: ## remove the extension's files from the PostgreSQL of PG_CONFIG
	@tools/uninstall

installcheck: ## run the SQL tests against the running server of PG_CONFIG
	@tools/installcheck

deb: ## make Debian packages for each of MAJORS (15 to 18) or for PG_CONFIG
	@tools/package/deb

dist: ## make the source archive for PGXN
	@tools/package/dist

oci: ## make an image for CloudNativePG's image volumes (PostgreSQL 18)
	@tools/package/oci

demo: ## start a private server and walk through the life of a key
	@tools/demo start

demo-stop: ## stop the demo's server and remove it
	@tools/demo stop

clean: ## remove everything that was built, here and in the scratch folder
	@tools/clean

##@ For developers

developer-setup: ## prepare "cargo pgrx run"
	@tools/developer-setup

test: export MAJORS ?= 15 18
test: export ATTACK_SECONDS ?= 60
test: export UPGRADED_FROM ?= ends
test: ## run every test on PostgreSQL 15 and 18
	@tools/test/run unit loom fuzz regress isolation upgraded cluster examples page attack

check: test ## the same as test

test-all: export MAJORS = 15 16 17 18
test-all: export ATTACK_SECONDS ?= 60
test-all: ## run every test on every supported major version
	@tools/test/run unit loom fuzz regress isolation upgraded cluster examples page attack

test-unit: ## unit tests in Rust
	@tools/test/run unit

test-regress: ## SQL tests (pg_regress) on a throwaway server
	@tools/test/run regress

test-isolation: ## tests of concurrent sessions on a throwaway server
	@tools/test/run isolation

test-upgraded: ## SQL tests in databases made with released versions and upgraded
	@tools/test/run upgraded

test-cluster: ## tests in Rust that start servers
	@tools/test/run cluster

test-examples: ## send the list of requests to every service and gateway of examples/
	@tools/test/examples

test-page: ## the page of the Node example, in Chromium
	@tools/test/run page

test-attack: ## random clients against every promise, for ATTACK_SECONDS (1800)
	@tools/test/run attack

test-attack-itself: ## see the attack find each of the faults that are built in (an hour or more)
	@tools/test/attack-test

test-packages: ## packages, the first hour of a new user, and contrib/monitoring
	@tools/test/packages

test-assertions: ## SQL tests on a server built with assertions
	@tools/test/assertions

test-valgrind: ## SQL tests on a server under valgrind (about 20 minutes)
	@tools/test/run valgrind

test-asan: export MAJORS ?= 18
test-asan: ## SQL tests with the library built for AddressSanitizer
	@tools/test/run asan

test-soak: ## long-running crash, fault and memory tests (1 hour or more)
	@VIBEPEAK_SOAK=1 tools/test/rust-tests cluster faults:: memory::

test-loom: ## check shared memory in every interleaving of a few threads
	@tools/test/run loom

fuzz: ## fuzz the crate pure, each target for FUZZ_SECONDS (15)
	@tools/test/run fuzz

lint: export MAJORS ?= 15 18
lint: ## formatting, clippy, crates, SQL and shell scripts, spelling, the source tree
	@tools/lint/run

lint-all: export MAJORS = 15 16 17 18
lint-all: ## the same, with clippy for every supported major version
	@tools/lint/run

docs: ## build the documentation as a site, in target/docs
	@tools/docs

bench: ## compare verifications with SELECT 1 and with other ways, side by side
	@bench/run

bench-reach: ## the short form: only the aims for vpk_authenticate and vpk_verify
	@bench/reach

bench-versions: ## compare vpk_verify with that of another revision, BENCH_BASE
	@bench/versions

bench-instructions: ## count the instructions of vpk_verify, beside another revision, BENCH_BASE
	@bench/instructions

bench-flush: ## measure what flushing the uses of keys in constant use costs
	@bench/flush

bench-limits: ## measure what rate limits add to a verification
	@bench/limits

bench-inside: ## measure the cost of a verification inside the server
	@bench/inside

bench-profile: ## show where a verification spends its time
	@bench/profile

bench-preload: ## measure the cost of preloading the library
	@bench/preload

bench-issuing: ## compare one statement that creates many keys with plain SQL
	@bench/issuing

bench-first: ## measure the first calls of a session
	@bench/first

bench-office: ## measure and explain what admins do, in a table of ten million keys
	@bench/office

bench-tasks: ## compare starting and finishing tasks with what people write
	@bench/tasks

bench-indexes: ## compare ways to find a key by its hash
	@bench/indexes

bench-scale: ## measure tables of 10 thousand to 10 million keys
	@bench/scale
