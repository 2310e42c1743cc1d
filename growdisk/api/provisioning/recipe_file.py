"""Reads files that say what to make: recipes and lists of outputs.

An unknown word in YAML is an error with its place and a suggestion. Names of files count from the
recipe's own folder, so that a recipe can be moved together with what it needs.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
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
from growdisk.errors import BadSize, UsageError
from growdisk.fast_dataclass import dataclass
from growdisk.given_file import read_given
from growdisk.host.yaml_fields import Fields, plain_text
from growdisk.host.yaml_reader import Located, bad_file, read_yaml
from growdisk.planner.goal import Backend, SwapPolicy
from growdisk.planner.option_table import CONVERTING, FORMAT, SHARED
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import parse_goal_size

# A recipe's fields; passphrases stand in no file.
_WORDS = (*(name for name in Recipe.__annotations__ if name != "keys"), "outputs")
_OUTPUT_WORDS = ("name", "size", "variables")


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
    fields = Fields(document, _WORDS, "a recipe", folder)
    recipe = Recipe(
        size=fields.size("size"),
        overlay=fields.flag("overlay"),
        format=cast("ImageFormat | None", fields.choice("format", FORMAT.choices)),
        compress=fields.flag("compress"),
        compression=cast(
            "Compression | None", fields.choice("compression", CONVERTING["compression"].choices)
        ),
        base_format=cast("ImageFormat | None", fields.choice("base_format", FORMAT.choices)),
        partition=fields.text("partition", "auto"),
        swap=cast("SwapPolicy | None", fields.choice("swap", SHARED["swap"].choices)),
        backend=cast("Backend", fields.choice("backend", SHARED["backend"].choices) or "auto"),
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


def _outputs(items: tuple[Located, ...], folder: Path) -> Iterator[Output]:
    for item in items:
        fields = Fields(item, _OUTPUT_WORDS, "an output", folder)
        yield Output(Path(fields.required("name")), fields.size("size"), fields.texts("variables"))


def _keys(item: Located, folder: Path) -> KeysFor:
    fields = Fields(item, ("user", "key", "file"), "an authorized key", folder)
    fields.refuse_unless_one_of("key", "file")
    user, file = fields.text("user", "root"), fields.path("file")
    return KeysFor(user, fields.text("key")) if file is None else KeysFor.in_file(user, file)


def _password(item: Located, folder: Path) -> PasswordFor:
    fields = Fields(item, ("user", "password", "file", "hash"), "a password", folder)
    user = fields.required("user")
    fields.refuse_unless_one_of("password", "file", "hash")
    if (file := fields.path("file")) is not None:
        return PasswordFor.in_file(user, file)
    return PasswordFor(user, fields.text("password").encode(), fields.text("hash"))


def _file(item: Located, folder: Path) -> FileInto:
    words = ("path", "source", "content", "template", "mode", "owner", "group")
    fields = Fields(item, words, "a file", folder)
    fields.refuse_unless_one_of("source", "content")
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


# A file that lists outputs, as CSV or YAML; a CSV's columns but name and size are variables:
#
#     name,size,role            - name: db.qcow2
#     web-1.qcow2,20G,web         size: 80G
#     db.qcow2,80G,db             variables: {role: db}


def read_output_list(path: Path) -> tuple[Output, ...]:
    """What a file lists; its ending says how.

    UsageError, with the line, for what cannot be read.
    """
    if path.suffix.lower() in (".yml", ".yaml"):
        document = read_yaml(path)
        if document is None or not document.is_list:
            problem = "a list of outputs is a list"
            raise bad_file(problem, str(path), hint="begin each one with - name: …")
        return tuple(_outputs(document.items(), path.parent))
    try:
        # -sig: a spreadsheet's byte order mark would belong to the first column's name.
        text = read_given(path, "check its name and permissions").decode("utf-8-sig")
        return tuple(_rows(path, csv.reader(StringIO(text, newline=""))))
    except (UnicodeDecodeError, csv.Error) as error:
        hint = "write name,size and a line for each output"
        raise UsageError(f"{path} is not CSV", hint, str(error)) from error


def _rows(path: Path, rows: Iterator[list[str]]) -> Iterator[Output]:
    heads = [head.strip() for head in next(rows, [])]
    if (
        "name" not in heads
        or not all(head.isidentifier() for head in heads)
        or len(set(heads)) < len(heads)
    ):
        problem = f"{path}:1: the first line names the columns"
        raise UsageError(problem, "write name,size,… each once, as words")
    for number, row in enumerate(rows, start=2):
        if any(cell.strip() for cell in row):
            yield _output(f"{path}:{number}", heads, row)


def _output(place: str, heads: Sequence[str], row: Sequence[str]) -> Output:
    if len(row) != len(heads):
        problem = f"{place}: {len(row)} fields under {len(heads)} columns"
        raise UsageError(problem, "one for each column")
    cells = {head: cell.strip() for head, cell in zip(heads, row, strict=True)}
    name, size = cells.pop("name"), cells.pop("size", "")
    if not name:
        raise UsageError(f"{place}: it has no name", hint="every output needs one")
    try:
        return Output(Path(name), parse_goal_size(size) if size else None, cells)
    except BadSize as error:
        raise UsageError(f"{place}: {error.what}", error.what_to_do, error.why) from error
