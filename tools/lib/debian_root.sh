# shellcheck shell=bash
# Sourced, after common.sh, by the tests of packages: bare roots of this machine's Debian, to
# install packages in as on a new machine. For root only.

# shellcheck disable=SC2154
archives=$cache/debian-archives # downloaded packages, for all roots

# The machine's package sources of Debian, in the format of sources.list.
debian_sources() {
    # apt replaces these names.
    # shellcheck disable=SC2016
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' | sort -u
}

# bare_root FOLDER: makes a root in FOLDER, which must not exist. The first one is kept as an
# archive in the cache folder.
bare_root() {
    local codename mirror base
    # apt locks the folder of downloaded packages: one test at a time.
    exec 8>"$cache/.debian-archives.lock"
    flock 8
    codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
    base=$cache/debian-$codename-$(dpkg --print-architecture).tar
    if [ ! -f "$base" ]; then
        mirror=$(debian_sources | awk -v suite="$codename" '$3 == suite { print $2; exit }')
        say "making a bare root of Debian $codename (once)"
        debootstrap --variant=minbase "$codename" "$1" "$mirror" >"$1.log" 2>&1 ||
            die "debootstrap failed: see $1.log"
        tar -C "$1" -cf "$base.new" .
        mv "$base.new" "$base"
        rm -rf "$1" "$1.log"
    fi
    mkdir -p "$1" "$archives/partial"
    tar -C "$1" -xf "$base"
    debian_sources >"$1/etc/apt/sources.list"
    printf '127.0.0.1 localhost bare\n' >"$1/etc/hosts"
    # It need not survive a power failure.
    printf 'force-unsafe-io\n' >"$1/etc/dpkg/dpkg.cfg.d/unsafe-io"
}

# in_root FOLDER online|offline COMMAND...: runs a command in a root, among processes and mounts of
# its own, which end with it. Offline, there is no network but the loopback interface. READ_ONLY may
# name a folder to mount, and its place in the root: /FROM:/TO.
in_root() {
    local folder=$1 network=()
    [ "$2" = online ] || network=(--net)
    shift 2
    cp -L /etc/resolv.conf "$folder/etc/resolv.conf"
    # The command in quotes gets its own arguments.
    # shellcheck disable=SC2016
    unshare --mount --propagation private --pid --fork --kill-child --ipc --uts "${network[@]}" \
        bash -euc '
            folder=$1 archives=$2
            shift 2
            hostname bare
            ip link set lo up
            mount -t proc proc "$folder/proc"
            mount --rbind /dev "$folder/dev"
            mount -t tmpfs tmpfs "$folder/dev/shm"
            mount --bind "$archives" "$folder/var/cache/apt/archives"
            if [ -n "${READ_ONLY:-}" ]; then
                mkdir -p "$folder${READ_ONLY#*:}"
                mount --bind "${READ_ONLY%%:*}" "$folder${READ_ONLY#*:}"
                mount -o remount,bind,ro "$folder${READ_ONLY#*:}"
            fi
            exec chroot "$folder" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
                DEBIAN_FRONTEND=noninteractive "$@"
        ' in_root "$folder" "$archives" "$@" </dev/null
}

# download FOLDER PACKAGE...: gets packages with all that they need, to be installed offline.
download() {
    local folder=$1
    shift
    in_root "$folder" online apt-get -qq update
    in_root "$folder" online apt-get -qq -y --download-only install "$@" >/dev/null
}
