"""Reads a recipe file (YAML): an unknown word is an error with its place and a suggestion.

Names of files count from the recipe's own folder, so that a recipe can be moved together with what
it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from growdisk.api.provisioning.recipe import (
    Compression,
    FileInto,
    KeysFor,
    Output,
    PasswordFor,
    Recipe,
    Seed,
)
from growdisk.api.provisioning.secret_files import password_in, text_in
from growdisk.api.provisioning.yaml_fields import Fields, plain_text
from growdisk.fast_dataclass import dataclass
from growdisk.host.yaml_reader import Located, bad_file, read_yaml
from growdisk.planner.goal import BACKENDS, Backend, SwapPolicy
from growdisk.qcow2.probe import ImageFormat

WORDS = (
    "size", "overlay", "format", "base_format", "compress", "compression", "partition", "swap",
    "backend", "reproducible", "epoch", "hostname", "reset_machine_id", "remove_ssh_host_keys",
    "new_ssh_host_keys", "authorized_keys", "passwords", "files", "commands", "seed", "variables",
    "outputs",
)  # fmt: skip
_FORMATS, _COMPRESSIONS = ("qcow2", "raw"), ("zlib", "zstd")
_SWAP = ("drop", "move", "file")
OUTPUT_WORDS = ("name", "size", "variables")


@dataclass(frozen=True)
class RecipeFile:
    """`outputs` are those that the file names; their names count from the working directory."""

    recipe: Recipe
    outputs: tuple[Output, ...]


def load_recipe(path: Path) -> RecipeFile:
    """bad-file, a UsageError, with file:line:column of the mistake."""
    document = read_yaml(path)
    if document is None:
        return RecipeFile(Recipe(), ())
    folder = path.parent
    fields = Fields(document, WORDS, "a recipe", folder)
    recipe = Recipe(
        size=fields.size("size"),
        overlay=fields.flag("overlay"),
        format=cast("ImageFormat | None", fields.choice("format", _FORMATS)),
        compress=fields.flag("compress"),
        compression=cast("Compression | None", fields.choice("compression", _COMPRESSIONS)),
        base_format=cast("ImageFormat | None", fields.choice("base_format", _FORMATS)),
        partition=fields.text("partition", "auto"),
        swap=cast("SwapPolicy | None", fields.choice("swap", _SWAP)),
        backend=cast("Backend", fields.choice("backend", BACKENDS) or "auto"),
        reproducible=fields.flag("reproducible"),
        epoch=fields.number("epoch"),
        hostname=fields.text("hostname"),
        reset_machine_id=fields.flag("reset_machine_id"),
        remove_ssh_host_keys=fields.flag("remove_ssh_host_keys"),
        new_ssh_host_keys=fields.flag("new_ssh_host_keys"),
        authorized_keys=tuple(_keys(item, folder) for item in fields.items("authorized_keys")),
        passwords=tuple(_password(item, folder) for item in fields.items("passwords")),
        files=tuple(_file(item, folder) for item in fields.items("files")),
        commands=tuple(plain_text(item) for item in fields.items("commands")),
        seed=_seed(fields.node("seed"), folder),
        variables=fields.texts("variables"),
    )
    return RecipeFile(recipe, tuple(_outputs(fields.items("outputs"), folder)))


def outputs_in(path: Path) -> tuple[Output, ...]:
    """A file that is nothing but a list of outputs."""
    document = read_yaml(path)
    if document is None or not document.is_list:
        raise bad_file(
            "a list of outputs is a list", place=str(path), hint="begin each one with - name: …"
        )
    return tuple(_outputs(document.items(), path.parent))


def _outputs(items: tuple[Located, ...], folder: Path) -> Iterator[Output]:
    for item in items:
        fields = Fields(item, OUTPUT_WORDS, "an output", folder)
        yield Output(Path(fields.required("name")), fields.size("size"), fields.texts("variables"))


def _keys(item: Located, folder: Path) -> KeysFor:
    fields = Fields(item, ("user", "key", "file"), "an authorized key", folder)
    file = fields.path("file") if fields.exactly_one("key", "file") == "file" else None
    return KeysFor(
        fields.text("user", "root"), fields.text("key") if file is None else text_in(file)
    )


def _password(item: Located, folder: Path) -> PasswordFor:
    fields = Fields(item, ("user", "password", "file", "hash"), "a password", folder)
    user, which = fields.required("user"), fields.exactly_one("password", "file", "hash")
    if which == "hash":
        return PasswordFor(user, hashed=fields.text("hash"))
    file = fields.path("file") if which == "file" else None
    return PasswordFor(
        user, fields.text("password").encode() if file is None else password_in(file)
    )


def _file(item: Located, folder: Path) -> FileInto:
    words = ("path", "source", "content", "template", "mode", "owner", "group")
    fields = Fields(item, words, "a file", folder)
    fields.exactly_one("source", "content")
    return FileInto(
        fields.required("path"),
        fields.path("source"),
        fields.text("content"),
        fields.flag("template"),
        fields.mode("mode", 0o644),
        fields.text("owner", "root"),
        fields.text("group"),
    )


def _seed(node: Located | None, folder: Path) -> Seed | None:
    if node is None or node.value is False:
        return None
    if node.value is True:
        # `seed: true` has all texts made here.
        return Seed()
    fields = Fields(node, ("user_data", "meta_data", "network_config"), "a seed", folder)
    return Seed(fields.path("user_data"), fields.path("meta_data"), fields.path("network_config"))
