# shellcheck shell=bash
# Sourced by the scripts of bench/ that query one server with psql.

. "$(dirname -- "${BASH_SOURCE[0]}")/servers.sh"

# begin_measuring [SETTING=VALUE]...: starts the server. The library is preloaded only if a setting
# says so.
begin_measuring() {
    start_server one max_wal_size=16GB jit=off max_parallel_workers_per_gather=0 \
        max_parallel_maintenance_workers=0 "$@"
    # Where nothing waits, processor time is compared: on a shared machine, elapsed time includes
    # the work of others. The kernel updates a process's processor time when the process sleeps.
    ask -f - <<'SQL'
CREATE FUNCTION cpu_ns() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(0.0005);
    RETURN split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint;
END $$;
CREATE TABLE measured (keys bigint, way text, what text, value double precision);
SQL
}

# Runs psql, which stops at the first error and prints bare values.
ask() { on one "$bin/psql" -XqAt -v ON_ERROR_STOP=1 "$@"; }

# Restarts the server with none of its data in memory, neither in its buffers nor in the system's
# cache.
restart_cold() {
    (
        cd "$work/one" || exit
        as_server "$bin/pg_ctl" -D data -m fast -w -s stop
        find data -type f -size +64k \
            -exec dd of={} oflag=nocache conv=notrunc,fdatasync count=0 status=none \;
        as_server "$bin/pg_ctl" -D data -l log -w -s start >/dev/null
    )
}
