# shellcheck shell=bash
# Sourced by the scripts of bench/ that ask one server, by psql.

. "$(dirname -- "${BASH_SOURCE[0]}")/servers.sh"

# begin_measuring [SETTING=VALUE]...: starts the server (not preloaded, unless a
# setting says so).
begin_measuring() {
    start_server one max_wal_size=16GB jit=off max_parallel_workers_per_gather=0 \
        max_parallel_maintenance_workers=0 "$@"
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

# A psql that stops at the first error, and prints bare values.
ask() { on one "$bin/psql" -XqAt -v ON_ERROR_STOP=1 "$@"; }

# Starts the server again with nothing of its data in memory, its own or the system's.
restart_cold() {
    (
        cd "$work/one" || exit
        as_server "$bin/pg_ctl" -D data -m fast -w -s stop
        find data -type f -size +64k -exec dd of={} oflag=nocache conv=notrunc,fdatasync count=0 status=none \;
        as_server "$bin/pg_ctl" -D data -l log -w -s start >/dev/null
    )
}
