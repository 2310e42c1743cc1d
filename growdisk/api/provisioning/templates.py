"""Fills in a recipe's texts for one output: the result has no templates or clear passwords."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from growdisk.api.provisioning.recipe import FileInto, KeysFor, Output, PasswordFor, Recipe
from growdisk.errors import UsageError
from growdisk.given_file import read_given
from growdisk.guest_config.customize.changes import FileChange, GuestChanges, LoginKeys, NewPassword
from growdisk.guest_config.customize.given_values import check_hash, check_hostname, hash_password

_LARGEST_FILE = 256 << 20
# options, if any; type; base64 of the key; a comment, if any
_KEY = r"[^\n]*\b(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]{20,}( [^\n]*)?"

Values = Mapping[str, str]


def values_for(base: Path, number: int, output: Output, recipe: Recipe) -> Values:
    """What the texts may name; a hostname is known to the others."""
    values = {
        "name": output.path.stem,
        "n": str(number),
        "base": base.name,
        **recipe.variables,
        **output.variables,
    }
    hostname = render(recipe.hostname, values, "the hostname")
    return {**values, "hostname": hostname or values["name"]}


def changes_for(recipe: Recipe, values: Values) -> GuestChanges:
    """UsageError for a text that cannot be filled in, and for what no guest would take."""
    hostname = render(recipe.hostname, values, "the hostname")
    if hostname:
        check_hostname(hostname)
    return GuestChanges(
        hostname,
        recipe.reset_machine_id,
        recipe.remove_ssh_host_keys,
        recipe.new_ssh_host_keys,
        tuple(_keys(keys, values) for keys in recipe.authorized_keys),
        tuple(_password(password, values, recipe) for password in recipe.passwords),
        tuple(_file(file, values) for file in recipe.files),
        tuple(render(command, values, f"the command '{command}'") for command in recipe.commands),
    )


def render(text: str, values: Values, what: str) -> str:
    """`text` with its {{ expressions }} filled in, in a sandbox. `what` it is, for an error."""
    if "{{" not in text and "{%" not in text:
        return text
    from growdisk.host.templating import Sandbox

    try:
        return Sandbox({}, {}).text(text, values)
    except Exception as error:  # an expression may go wrong in as many ways as Python has
        known = ", ".join(sorted(values))
        problem = f"cannot fill in {what}"
        raise UsageError(problem, f"the variables are: {known}", str(error)) from error


def render_file(content: bytes, values: Values, what: str, hint: str) -> bytes:
    """The same of a file's content. `hint`: what to do if it is not text."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} is not UTF-8", hint=hint) from error
    return render(text, values, what).encode()


def _keys(keys: KeysFor, values: Values) -> LoginKeys:
    text = render(keys.lines, values, f"the keys of {keys.user}")
    lines = tuple(
        line.strip()
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    )
    wrong = [line for line in lines if not re.fullmatch(_KEY, line)]
    if wrong or not lines:
        # The wrong one of the two files: nothing of it may be shown.
        private = any("PRIVATE KEY" in line for line in wrong)
        problem = "a private key" if private else f"'{wrong[0][:40]}'" if wrong else "nothing"
        hint = "give the .pub file that ssh-keygen made"
        raise UsageError(f"{problem} is not a public key for {keys.user}", hint)
    return LoginKeys(keys.user, lines)


def _password(password: PasswordFor, values: Values, recipe: Recipe) -> NewPassword:
    if password.hashed:
        return NewPassword(password.user, check_hash(password.hashed))
    # A hash of the same password differs each time, unless its salt is made of what is known.
    salt_from = f"growdisk {values['name']} {password.user}" if recipe.reproducible else None
    return NewPassword(password.user, *hash_password(password.clear, salt_from))


def _file(file: FileInto, values: Values) -> FileChange:
    path = render(file.path, values, f"the path {file.path}")
    if not path.startswith("/") or path.endswith("/") or ".." in PurePosixPath(path).parts:
        problem = f"'{path}' is not a path of a file in a guest"
        raise UsageError(problem, "write it from / on, without ..")
    content = file.content.encode() if file.source is None else file_content(file.source)
    if file.template:
        what = f"the template {file.source or path}"
        content = render_file(content, values, what, "copy it in as it is, without filling it in")
    return FileChange(path, content, file.mode, file.owner, file.group)


def file_content(source: Path) -> bytes:
    hint = "check its name; let a command in the guest fetch what is larger"
    return read_given(source, hint, _LARGEST_FILE)
