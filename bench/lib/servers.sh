# shellcheck shell=bash
# Sourced by the scripts of bench/: starts servers that run the build of this working copy, and
# removes them when the script ends.

. "$(dirname -- "${BASH_SOURCE[0]}")/../../tools/lib/common.sh"
. "$root/tools/lib/server.sh"

original_config=${PG_CONFIG:-pg_config}
PG_CONFIG=$(scratch_install '')
export PG_CONFIG
use_libraries_of "$PG_CONFIG"
bin=$("$PG_CONFIG" --bindir)

work=$(mktemp -d "$scratch/bench.XXXXXX")
chmod 0755 "$work"
servers=()

stop_servers() {
    local server
    for server in ${servers[@]+"${servers[@]}"}; do
        "$root/tools/test/cluster" stop "$work/$server" immediate
    done
    rm -rf "$work"
}
trap stop_servers EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# start_server NAME [SETTING=VALUE]...: starts a server without autovacuum and timed checkpoints,
# which would disturb the measurement.
start_server() {
    local server=$1
    shift
    servers+=("$server")
    "$root/tools/test/cluster" start "$work/$server" max_connections=50 autovacuum=off \
        checkpoint_timeout=1d "$@"
}

# on NAME COMMAND...: runs a client program with the settings to connect to that server.
on() {
    local server=$1
    shift
    PGHOST=$work/$server PGPORT=5432 PGUSER=postgres PGDATABASE=postgres \
        PGOPTIONS='-c client_min_messages=warning' "$@"
}

# start_loaded_server KEYS [SETTING=VALUE]...: starts the server LOADED (default: "loaded"), with
# that many keys and with the tables and functions that they are compared with, all of it in memory.
start_loaded_server() {
    local keys=$1 server=${LOADED:-loaded}
    shift
    [ "$keys" -ge 10000 ] || die "BENCH_KEYS: at least 10000"
    mkdir -p "$work/baseline"
    cp "$root"/bench/baseline/{Makefile,baseline.c} "$work/baseline/"
    # PROFILE is a variable of PGXS too: flags of the compiler.
    env -u PROFILE make -s -C "$work/baseline" PG_CONFIG="$PG_CONFIG" >&2

    start_server "$server" shared_preload_libraries="$extension" max_wal_size=64GB \
        shared_buffers="$((512 + keys * 2 / 1000))MB" "$@"
    say "loading $keys keys"
    on "$server" "$bin/psql" -Xq -v ON_ERROR_STOP=1 -v keys="$keys" \
        -v library="$work/baseline/baseline" -f "$root/bench/load.sql" >&2
}

# Builds the revision BENCH_BASE from its sources, installs it into a separate copy of PostgreSQL,
# and prints the pg_config of that copy.
install_base() {
    local revision sources install
    [ -n "${BENCH_BASE:-}" ] || die "set BENCH_BASE to the revision to compare with"
    revision=$(git -C "$root" rev-parse --short "$BENCH_BASE^{commit}")
    sources=$scratch/base-$revision
    if [ ! -d "$sources" ]; then
        mkdir "$sources.new"
        git -C "$root" archive "$revision" | tar x -C "$sources.new"
        mv "$sources.new" "$sources"
    fi
    # Revisions up to 0.4.0 have it in another place.
    for install in postgres/install-into-copy private-install; do
        [ ! -x "$sources/tools/$install" ] || break
    done
    PG_CONFIG=$original_config CARGO_TARGET_DIR='' \
        "$sources/tools/$install" "$scratch/base-$revision-pg"
}

# Prints the median of the numbers on standard input, one per line.
median() {
    sort -n | awk '{ v[NR] = $1 }
        END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# Builds the load generator and prints its path.
client() {
    cargo build --quiet --release --locked --manifest-path "$root/bench/client/Cargo.toml" \
        --target-dir "$target/bench" >&2
    printf '%s\n' "$target/bench/release/vibepeak-keys-bench"
}
