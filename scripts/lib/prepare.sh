# What the scripts need before they begin. Sourced, with the top level as working directory.

step() {
    printf '\n== %s\n' "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command as root: as it is, or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this needs root, and sudo is missing: $*"
    fi
}

prepare_rust() {
    if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
        . "$HOME/.cargo/env"
    fi
    command -v cargo >/dev/null || fail "Rust is missing; install it from https://rustup.rs"
    # A crate that builds C code needs a compiler.
    command -v cc >/dev/null || install_packages gcc libc6-dev
}

# Sets POSTGRES_BIN, the directory of initdb, pg_ctl and postgres.
prepare_postgres() {
    find_postgres && return
    install_packages postgresql
    find_postgres || fail "PostgreSQL is installed, but initdb is not under /usr/lib/postgresql; set POSTGRES_BIN"
}

find_postgres() {
    if [ -z "${POSTGRES_BIN:-}" ]; then
        POSTGRES_BIN=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
    fi
    [ -x "${POSTGRES_BIN:-}/initdb" ] && export POSTGRES_BIN
}

# A pooler that the tests put in front of PostgreSQL. Debian has it where an ordinary user's path
# does not reach.
prepare_pgbouncer() {
    type -P pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || install_packages pgbouncer
}

# Prometheus, its promtool and the node exporter: those that are installed, or else Debian's, unpacked
# under target, because to install a package of Debian starts its service. Exports PROMETHEUS_BIN.
prepare_prometheus() {
    find_prometheus && return
    local dir=${CARGO_TARGET_DIR:-target}/prometheus package
    command -v apt-get >/dev/null ||
        fail "install prometheus and prometheus-node-exporter, or set PROMETHEUS_BIN (this script can fetch them only where there is apt-get)"
    step "fetching Prometheus and its node exporter"
    as_root apt-get update -q
    rm -rf "$dir" "$dir.new"
    mkdir -p "$dir.new"
    (cd "$dir.new" && apt-get download -q prometheus prometheus-node-exporter)
    for package in "$dir.new"/*.deb; do
        dpkg -x "$package" "$dir.new"
        rm "$package"
    done
    mv "$dir.new" "$dir"
    find_prometheus || fail "Prometheus was fetched, but it is not in $dir/usr/bin; set PROMETHEUS_BIN"
}

find_prometheus() {
    local dir program
    for dir in "${PROMETHEUS_BIN:-}" "$(dirname "$(type -P prometheus)")" \
        "$(realpath -m "${CARGO_TARGET_DIR:-target}/prometheus/usr/bin")"; do
        for program in prometheus promtool prometheus-node-exporter; do
            [ -x "$dir/$program" ] || continue 2
        done
        PROMETHEUS_BIN=$dir
        export PROMETHEUS_BIN
        return
    done
    return 1
}

# What the tests and the fetching of servers use besides.
prepare_tools() {
    # The tests send signals with it.
    type -P kill >/dev/null || install_packages procps
    type -P curl >/dev/null || install_packages curl ca-certificates
    # They are asked for completions, and groff for what is wrong with the manual page.
    type -P zsh >/dev/null || install_packages zsh
    type -P fish >/dev/null || install_packages fish
    type -P groff >/dev/null || install_packages groff-base
    # The README's script is run by it.
    type -P python3 >/dev/null || install_packages python3
}

# What cuts the network of a test, which only root may do. Sets LEFT_OUT: the arguments by which everybody
# else leaves these tests out.
prepare_network() {
    LEFT_OUT=
    if [ "$(id -u)" = 0 ]; then
        type -P ip >/dev/null || install_packages iproute2
        type -P nft >/dev/null || install_packages nftables
        # In a container root may not be allowed to.
        unshare --net nft add table inet test 2>/dev/null && return
    fi
    LEFT_OUT="--skip network::"
    tell_left_out
}

tell_left_out() {
    [ -z "$LEFT_OUT" ] && return
    printf '\n** LEFT OUT: the tests that cut a network (network::). They need root, and a kernel that lets it\n'
    printf '** make network namespaces and rules of nftables in them.\n'
} >&2

install_packages() {
    command -v apt-get >/dev/null || fail "install $* (this script can do it only where there is apt-get)"
    step "installing $*"
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}
