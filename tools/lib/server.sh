# shellcheck shell=bash
# Sourced, after common.sh, by the scripts that run servers of their own: as
# which user, and in which folder.

# Settings of the caller's for another server must not reach these.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE \
    PGOPTIONS PGDATA PGSSLMODE PGCLIENTENCODING PGTZ PGDATESTYLE PGAPPNAME PGTARGETSESSIONATTRS

# The name of a socket may have 107 characters.
temporary=${TMPDIR:-/tmp}
[ "${#temporary}" -le 40 ] || temporary=/tmp

# Scratch folder of this working copy, for the servers of the tests, and the
# folder of the demo.
# shellcheck disable=SC2034,SC2154
scratch=$temporary/vibepeak_keys-$(id -u)-$(printf '%s' "$root" | cksum | cut -d' ' -f1)
# shellcheck disable=SC2034
demo=${VIBEPEAK_DEMO:-$temporary/vibepeak_keys_demo-$(id -u)}

# Makes a folder, or makes sure that an existing one is ours and no link that
# somebody else has put there.
own_folder() {
    mkdir -p "$1"
    if [ -L "$1" ] || [ ! -O "$1" ]; then die "$1 belongs to somebody else"; fi
}

# PostgreSQL refuses to run as root. For root, the servers run under an
# unprivileged user, made when needed; for others the name is empty.
server_user() {
    [ "$(id -u)" -eq 0 ] || return 0
    local user=${VIBEPEAK_SERVER_USER:-vibepeak}
    id "$user" >/dev/null 2>&1 ||
        useradd --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin "$user" >&2
    printf '%s\n' "$user"
}

# Runs a command as that user, with nothing of the caller's environment.
as_server() {
    local user drop=()
    user=$(server_user)
    [ -z "$user" ] || drop=(setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups --)
    env -i PATH=/usr/bin:/bin LC_ALL=C TZ=UTC ${LD_LIBRARY_PATH:+"LD_LIBRARY_PATH=$LD_LIBRARY_PATH"} \
        "${drop[@]}" "$@" </dev/null
}

# Lets the programs of a PostgreSQL that lives outside the system's folders
# find its libraries.
use_libraries_of() {
    local lib
    lib=$("$1" --libdir)
    case $lib in
        /usr/lib | /usr/lib/* | /usr/lib64 | /lib | /lib/*) ;;
        *) export LD_LIBRARY_PATH=$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} ;;
    esac
}
