#!/bin/sh
# Installs what `make fuzz` needs beside the rest (the group "fuzz" of pyproject.toml), if it is missing.
set -eu

cd "$(dirname "$0")/.."
.venv/bin/python -c 'import atheris' 2>/dev/null && exit 0
echo "setup: installing the fuzzer"
read_group='import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["fuzz"])'
.venv/bin/python -c "$read_group" | xargs .venv/bin/python -m pip install --quiet --disable-pip-version-check
