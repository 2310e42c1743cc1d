#!/bin/sh
# Makes .venv from Debian's own Python (the only one that can import python3-guestfs) with growdisk in it, editable.
# The stamp is named after pyproject.toml's content: nothing changed, nothing done, no network.
set -eu

cd "$(dirname "$0")/.."
stamp=.venv/setup-$(sha256sum pyproject.toml | cut -c1-16)

# Where Python is told to keep no bytecode, every command would compile all that it loads: 20 ms.
compiled() { .venv/bin/python -m compileall -q growdisk; }

[ -e "$stamp" ] && [ -x .venv/bin/growdisk ] && { compiled; exit 0; }

echo "setup: making .venv"
[ -x .venv/bin/python ] || /usr/bin/python3 -m venv --system-site-packages .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
rm -f .venv/setup-*
compiled

# The same command as pip's, without looking for installed packages before one is needed (growdisk/cli/start.py).
root=$(pwd)
case $root in
*[!A-Za-z0-9/._-]*) ;; # a path that a first line cannot hold, or a string: pip's command stays
*)
    cat > .venv/bin/growdisk <<END
#!$root/.venv/bin/python -PsS
import sys
sys.path.append("$root")
from growdisk.cli.start import console
console()
END
    ;;
esac
touch "$stamp"
