# shellcheck shell=bash
# Sourced, after common.sh and server.sh, by tools/test/valgrind and tools/test/asan, which run the
# SQL tests under a memory checker.

# make_reports NAME: makes the folder $reports for the checker's reports, which the server's user
# may write to. It is removed when the script ends.
make_reports() {
    local user
    # shellcheck disable=SC2154
    own_folder "$scratch"
    reports=$(mktemp -d "$scratch/$1.XXXXXX")
    trap 'rm -rf "$reports"' EXIT
    user=$(server_user)
    [ -z "$user" ] || chown "$user:" "$reports"
}

# run_checked [TEST...]: runs SQL tests with the server started by SERVER_LAUNCHER, by the command
# in "within" if that is set, and shows the reports. Fails if a test failed or if a report has a
# frame of the library in its stack.
within=()
run_checked() {
    local status=0
    "${within[@]}" tools/test/with-cluster tools/test/sql-tests regress "$@" || status=1
    shopt -s nullglob
    tools/test/memory-reports "$reports"/report.* || status=1
    return "$status"
}
