# shellcheck shell=bash
# Sourced, after common.sh, by the scripts that start servers: the server's user, the folders, and
# the PostgreSQL that the servers run.

# The caller's settings for another server must not apply to these servers.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE \
    PGOPTIONS PGDATA PGSSLMODE PGCLIENTENCODING PGTZ PGDATESTYLE PGAPPNAME PGTARGETSESSIONATTRS

# The path of a socket may have 107 characters.
temporary=${TMPDIR:-/tmp}
[ "${#temporary}" -le 40 ] || temporary=/tmp

# The scratch folder of this working copy, for the servers of the tests, and the folder of the demo.
# shellcheck disable=SC2034,SC2154
scratch=$temporary/vibepeak_keys-$(id -u)-$(printf '%s' "$root" | cksum | cut -d' ' -f1)
# shellcheck disable=SC2034
demo=${VIBEPEAK_DEMO:-$temporary/vibepeak_keys_demo-$(id -u)}

# Makes a folder. Fails if somebody else owns it or has put a link there.
own_folder() {
    mkdir -p "$1"
    if [ -L "$1" ] || [ ! -O "$1" ]; then die "$1 belongs to somebody else"; fi
}

# scratch_install SUFFIX: builds the extension, installs it into a copy of the PostgreSQL of
# PG_CONFIG in the scratch folder and prints the pg_config of the copy. Each suffix has a separate
# copy.
scratch_install() {
    own_folder "$scratch"
    # shellcheck disable=SC2154
    "$root/tools/postgres/install-into-copy" \
        "$scratch/$(pg_feature "$(require_pg_config)")-$profile$1"
}

# The user that runs the servers; empty for the caller. PostgreSQL refuses to run as root: for root
# it is an unprivileged user, which is created if it does not exist.
server_user() {
    [ "$(id -u)" -eq 0 ] || return 0
    local user=${VIBEPEAK_SERVER_USER:-vibepeak}
    id "$user" >/dev/null 2>&1 ||
        useradd --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin "$user" >&2
    printf '%s\n' "$user"
}

# Runs a command as that user, without the caller's environment.
as_server() {
    local user drop=()
    user=$(server_user)
    [ -z "$user" ] || drop=(setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups --)
    env -i PATH=/usr/bin:/bin LC_ALL=C TZ=UTC \
        ${LD_LIBRARY_PATH:+"LD_LIBRARY_PATH=$LD_LIBRARY_PATH"} "${drop[@]}" "$@" </dev/null
}

# Lets the programs of a PostgreSQL outside the system's folders find their libraries.
use_libraries_of() {
    local lib
    lib=$("$1" --libdir)
    case $lib in
        /usr/lib | /usr/lib/* | /usr/lib64 | /lib | /lib/*) ;;
        *) export LD_LIBRARY_PATH=$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} ;;
    esac
}
