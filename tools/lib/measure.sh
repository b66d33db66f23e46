# shellcheck shell=bash
# Sourced, after common.sh and server.sh, by the measurements in bench/ that run one server: its life,
# and what is asked of it.

# Makes a server with the extension installed (not preloaded, unless a setting says so) in $work, which
# is gone when the script ends. Arguments are settings.
# shellcheck disable=SC2154
begin_measuring() {
    own_folder "$scratch"
    PG_CONFIG=$("$root/tools/private-install" "$scratch/$(pg_feature "$(require_pg_config)")-$profile")
    export PG_CONFIG
    use_libraries_of "$PG_CONFIG"
    bin=$("$PG_CONFIG" --bindir)
    work=$(mktemp -d "$scratch/bench.XXXXXX")
    chmod 0755 "$work"
    trap end_measuring EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    "$root/tools/cluster" start "$work/server" autovacuum=off checkpoint_timeout=1d max_wal_size=4GB \
        jit=off max_parallel_workers_per_gather=0 max_parallel_maintenance_workers=0 "$@"
    export PGHOST=$work/server PGPORT=5432 PGUSER=postgres PGDATABASE=postgres \
        PGOPTIONS='-c client_min_messages=warning'
    # Processor time is what is compared wherever nothing is waited for: on a machine that others
    # share, the clock on the wall measures those others. A process's account of it is brought up to
    # date when the process sleeps.
    ask -f - <<'SQL'
CREATE FUNCTION cpu_ns() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(0.0005);
    RETURN split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint;
END $$;
CREATE TABLE measured (keys bigint, way text, what text, value double precision);
SQL
}

end_measuring() {
    "$root/tools/cluster" stop "$work/server" immediate
    rm -rf "$work"
}

# A psql that stops at the first error, and prints bare values.
ask() { "$bin/psql" -XqAt -v ON_ERROR_STOP=1 "$@"; }

# Starts the server again with nothing of its data in memory, its own or the system's.
restart_cold() {
    (
        cd "$work/server" || exit
        as_server "$bin/pg_ctl" -D data -m fast -w -s stop
        find data -type f -size +64k -exec dd of={} oflag=nocache conv=notrunc,fdatasync count=0 status=none \;
        as_server "$bin/pg_ctl" -D data -l log -w -s start >/dev/null
    )
}
