# shellcheck shell=bash
# Sourced by the tests of packages. Each is a program that prints its checks, one a line, and fails
# if one of them failed. tools/test/packages runs them.

. "$(dirname -- "${BASH_SOURCE[0]}")/../../tools/lib/common.sh"
. "$root/tools/lib/debian_root.sh"
cd "$root"

# The architecture and the version that the packages have in their names.
# shellcheck disable=SC2034
architecture=$(dpkg --print-architecture)
version=$(extension_version)
failed=0

# check WHAT COMMAND...: runs a command, and says whether it succeeded.
check() {
    local what=$1
    shift
    if "$@"; then
        printf 'ok: %s\n' "$what"
    else
        printf 'FAILED: %s\n' "$what"
        failed=1
    fi
}

# Ends the test, which has failed if a check has.
finish() { exit "$failed"; }

# scratch_folder: makes a folder for the test, $work, that is removed when the test ends.
scratch_folder() {
    work=$(mktemp -d "${TMPDIR:-/tmp}/vibepeak_keys_packages.XXXXXX")
    trap 'rm -rf "$work"' EXIT
}

# The package of a major version and release, which "deb" has made.
server_package() {
    printf '%s/deb/postgresql-%s-vibepeak-keys_%s-1_%s.deb\n' "$target" "$1" "${2:-$version}" "$architecture"
}

# The major version that this machine's Debian has.
debian_major() {
    local major
    for major in 15 16 17 18; do
        if apt-cache show "postgresql-$major" >/dev/null 2>&1; then
            printf '%s\n' "$major"
            return
        fi
    done
    die "apt knows no PostgreSQL 15 to 18"
}
