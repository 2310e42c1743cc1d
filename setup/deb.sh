#!/bin/sh
# Builds the Debian package for the Debian that this runs on, and leaves it in dist/. What Debian lacks comes as wheels.
set -eu

cd "$(dirname "$0")/.."
python=.venv/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/growdisk
out=$(realpath -m "${1:-dist}")
made=$tree/made

mkdir -p "$made" "$tree/vendor" "$out"
cp -R debian docs README.md LICENSE CHANGELOG.md "$tree"
$python -m build --no-isolation --wheel --outdir "$tree/vendor" . >/dev/null
$python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$tree/vendor" \
    "msgspec>=0.18" "pycdlib>=1.22" "qemu.qmp>=0.0.3" "shtab>=1.7"
$python setup/man.py "$made/man"
for shell in bash zsh fish; do
    $python -m growdisk.cli.main completion $shell >"$made/growdisk.$shell"
done
(cd "$tree" && dpkg-buildpackage --build=binary --no-sign >"$work/log" 2>&1) || { cat "$work/log" >&2; exit 1; }
cp "$work"/growdisk_*.deb "$out"
ls "$out"/growdisk_*.deb
