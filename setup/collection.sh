#!/bin/sh
# Builds the collection growdisk.disk out of playbooks/collection, leaves its archive in OUT, and installs it into FOLDER.
# No network. usage: collection.sh FOLDER [OUT]
set -eu

folder=$(realpath -m "$1")
cd "$(dirname "$0")/.."
out=$(realpath -m "${2:-dist}")

command -v ansible-galaxy >/dev/null || { echo "collection: ansible-galaxy is not here (package ansible-core)" >&2; exit 1; }
rm -f "$out"/growdisk-disk-*.tar.gz
ansible-galaxy collection build playbooks/collection --output-path "$out" >/dev/null
ansible-galaxy collection install "$out"/growdisk-disk-*.tar.gz --collections-path "$folder" --force --no-deps --offline >/dev/null
echo "growdisk.disk: $(echo "$out"/growdisk-disk-*.tar.gz), installed in $folder"
