#!/bin/sh
# Installs the Debian packages of the named groups (packages.txt) that are missing. With none missing: no root, no network.
# usage: packages.sh GROUP...
set -eu

list=$(dirname "$0")/packages.txt

# -- Is it here? ------------------------------------------------------------------------------------------------------
installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

any_file() {
    for file in $1; do
        [ -e "$file" ] && return 0
    done
    return 1
}

missing() {
    for group; do
        while read -r name package files; do
            [ "$name" = "$group" ] || continue
            installed "$package" || any_file "${files:-}" || echo "$package"
        done <"$list"
    done
}

# -- Get it -----------------------------------------------------------------------------------------------------------
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        echo "setup: root must install these packages (there is no sudo): $wanted" >&2
        exit 1
    fi
}

install() {
    # shellcheck disable=SC2086  # one word a package
    as_root apt-get -qq install --yes --no-install-recommends $1 >/dev/null
}

command -v dpkg-query >/dev/null || { echo "setup: this is not a Debian; install the likes of $list by hand" >&2; exit 0; }
wanted=$(missing "$@" | tr '\n' ' ')
for group; do
    optional="${optional-} $group?"
done
# shellcheck disable=SC2086  # one word a group
helpful=$(missing $optional | tr '\n' ' ')
if [ -n "$wanted" ]; then
    echo "setup: installing $wanted"
    as_root apt-get -qq update
    # All at once if all are available: each call of its own goes through what is installed again.
    install "$wanted $helpful" 2>/dev/null || install "$wanted"
fi
[ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null || exit 0
# shellcheck disable=SC2086  # one word a group
for package in $(missing $optional); do
    echo "setup: installing $package"
    install "$package" || echo "setup: without $package, then"
done
