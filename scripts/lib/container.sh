# A container with systemd for what would change this machine: an overlay of it, on a tmpfs. Sourced after
# prepare.sh. It needs root, systemd-nspawn (on Debian: systemd-container) and a kernel that lets it; where
# it cannot run it says so and ends with 77.

cannot() {
    echo "this machine does not allow the test: $*"
    exit 77
}

need_container() {
    [ "$(id -u)" = 0 ] || cannot "it needs root"
    type -P systemd-nspawn >/dev/null || cannot "systemd-nspawn is missing; on Debian: apt-get install systemd-container"
}

# Makes $root under $work; what is written there goes to $upper.
make_container() {
    step "an overlay of this machine"
    root=$work/root
    upper=$work/layers/upper
    mkdir "$root" "$work/layers"
    mount -t tmpfs tmpfs "$work/layers" || cannot "no tmpfs can be mounted"
    mkdir "$upper" "$work/layers/work"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$upper,workdir=$work/layers/work" "$root" ||
        cannot "no overlay can be mounted"
}

remove_container() {
    mountpoint -q "$work/root" && umount "$work/root"
    mountpoint -q "$work/layers" && umount "$work/layers"
    rm -rf --one-file-system "$work"
}

# boot_container SECONDS LOG UNIT [OPTION...]: boots to the unit, which powers off by itself and leaves the
# log, and prints that.
boot_container() {
    local seconds=$1 log=$root/$2 unit=$3
    shift 3
    rm -f "$log"
    timeout --kill-after=10 "$seconds" systemd-nspawn --quiet --boot --register=no --keep-unit --console=pipe \
        --directory="$root" "$@" -- --unit="$unit" --show-status=no >"$work/console" 2>&1 </dev/null || true
    [ -f "$log" ] || cannot "no systemd boots here: $(tail -n 5 "$work/console")"
    sed 's/^/   /' "$log"
}
