# shellcheck shell=bash
# Sourced by every script of tools/ and bench/: the paths, the choice of PostgreSQL, and messages.

set -euo pipefail
umask 022

# RUSTFLAGS would replace the linker arguments that cargo-pgrx sets.
unset CDPATH RUSTFLAGS CARGO_ENCODED_RUSTFLAGS

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
# The scripts that source this file read it.
# shellcheck disable=SC2034
extension=vibepeak_keys
profile=${PROFILE:-release}

cache=${VIBEPEAK_CACHE:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/vibepeak_keys}
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$root/$target ;; esac
export CARGO_TARGET_DIR=$target

command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-${HOME:-/nonexistent}/.cargo}/bin

say() { printf '%s\n' "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}

# The version of the sources.
extension_version() { sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1; }

# --- PostgreSQL -----------------------------------------------------------

# Whether a pg_config belongs to a PostgreSQL that has a server and its headers.
complete_pg() {
    [ -x "$("$1" --bindir 2>/dev/null)/postgres" ] &&
        [ -f "$("$1" --includedir-server)/postgres.h" ]
}

# The pg_config that PG_CONFIG names, as an absolute path. If PG_CONFIG has its default, Debian's
# folders are searched too.
find_pg_config() {
    local wanted=${PG_CONFIG:-pg_config} candidate
    if candidate=$(command -v -- "$wanted") && complete_pg "$candidate"; then
        # Debian's /usr/bin/pg_config is a wrapper: name the program that it calls.
        wanted=$("$candidate" --bindir)/pg_config
        if [ -x "$wanted" ]; then candidate=$wanted; fi
        printf '%s\n' "$candidate"
        return
    fi
    [ "$wanted" = pg_config ] || return 1
    for candidate in /usr/lib/postgresql/{15,16,17,18}/bin/pg_config; do
        if [ -x "$candidate" ] && complete_pg "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

require_pg_config() {
    find_pg_config ||
        die "no PostgreSQL with server and headers at PG_CONFIG=${PG_CONFIG:-pg_config};" \
            "run 'make setup'"
}

# The Cargo feature for a pg_config: pg15 to pg18.
pg_feature() {
    local feature
    feature=pg$("$1" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
    grep -q "^$feature = " "$root/Cargo.toml" ||
        die "$("$1" --version) is not a supported version"
    printf '%s\n' "$feature"
}

# Sets lib and share to the folders that the extension's files go to, for a pg_config and below
# DESTDIR if it is given. Fails if they are not writable.
places_of_install() {
    local directory
    lib=${DESTDIR:-}$("$1" --pkglibdir)
    share=${DESTDIR:-}$("$1" --sharedir)/extension
    for directory in "$lib" "$share"; do
        if [ -d "$directory" ] && [ ! -w "$directory" ]; then
            die "cannot write to $directory: run as its owner, for example with sudo"
        fi
    done
}

# --- Rust -----------------------------------------------------------------

# The version of pgrx in Cargo.lock, which cargo-pgrx must have too.
pgrx_version() {
    awk '/^name = "pgrx"$/ { getline; gsub(/.* = |"/, ""); print; exit }' "$root/Cargo.lock"
}

# The cargo-pgrx of that version: the one on PATH, or the one in the cache.
find_cargo_pgrx() {
    local version candidate
    version=$(pgrx_version)
    for candidate in "$(command -v cargo-pgrx || true)" \
        "$cache/cargo-pgrx-$version/bin/cargo-pgrx"; do
        if [ -x "$candidate" ] && [ "$("$candidate" pgrx --version)" = "cargo-pgrx $version" ]; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

# The folder of the built files for one major version.
package_dir() { printf '%s\n' "$target/package/$1-$profile"; }
