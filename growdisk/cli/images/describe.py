"""What an image is, in qemu-img's words and keys: growdisk image info, growdisk image map."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from growdisk.api.images.info import ImageInfo, backing_chain, image_info
from growdisk.cli.common_options import add_flag
from growdisk.cli.images.shared import add_format, add_path, size_of_qemu_img
from growdisk.cli.output import CommandOutput, printable

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.api.images.mapping import MapRecord


def info_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser)
    add_format(parser)
    add_flag(parser, "-U --force-share", "also while a guest writes to it; the answer may be torn")
    add_flag(parser, "--backing-chain", "also of all images that it lies on")


def run_info(arguments: argparse.Namespace, output: CommandOutput) -> int:
    if arguments.backing_chain:
        return _chain(arguments, output)

    info = image_info(arguments.path, arguments.format, shared=arguments.force_share)
    if output.json_mode:
        # Without the overlays: the keys are qemu-img's, and it has none for them.
        output.document(info.as_json(), own=False)
    else:
        output.lines(map(printable, (*_lines(info), *_overlays(arguments.path))))
    return 0


def _chain(arguments: argparse.Namespace, output: CommandOutput) -> int:
    """Each layer as qemu-img shows it, with an empty line between them."""
    layers = backing_chain(arguments.path, arguments.format, shared=arguments.force_share)
    output.document([layer.as_json() for layer in layers])
    for number, layer in enumerate(layers):
        output.lines(map(printable, (*([""] if number else []), *_lines(layer))))
    return 0


def _lines(info: ImageInfo) -> Iterator[str]:
    facts = info.as_json()
    yield f"image: {info.path}"
    yield f"file format: {info.format}"
    yield f"virtual size: {size_of_qemu_img(info.virtual_size)} ({info.virtual_size} bytes)"
    yield f"disk size: {size_of_qemu_img(info.actual_size)}"
    if "encrypted" in facts:
        yield "encrypted: yes"
    if "cluster-size" in facts:
        yield f"cluster_size: {facts['cluster-size']}"
    # In qemu-img's words: the refcounts may be wrong, as a writer has not closed the image.
    if facts["dirty-flag"]:
        yield "cleanly shut down: no"
    yield from _backing_lines(facts)
    if info.snapshots:
        from growdisk.cli.images.snapshot import snapshot_rows

        yield from snapshot_rows(info.snapshots)
    # A raw image has none.
    match facts.get("format-specific"):
        case {"data": data}:
            yield "Format specific information:"
            yield from _nested(data, "    ")


def _overlays(path: Path) -> Iterator[str]:
    """What qemu-img does not look for: images of the same folder that lie on this one."""
    from growdisk.api.overlays import overlays_on

    if found := overlays_on(path, libvirt=False):
        yield "Images that lie on it:"
        yield from (f"    {overlay}" for overlay in found)


def _backing_lines(facts: dict[str, object]) -> Iterator[str]:
    name, full = facts.get("backing-filename"), facts.get("full-backing-filename")
    if name is None:
        return
    yield f"backing file: {name}" + (f" (actual path: {full})" if full != name else "")
    if "backing-filename-format" in facts:
        yield f"backing file format: {facts['backing-filename-format']}"


def _nested(value: object, indent: str) -> Iterator[str]:
    """Nested facts as qemu-img indents them."""
    if isinstance(value, dict):
        pairs = [(str(key).replace("-", " "), item) for key, item in value.items()]
    else:
        assert isinstance(value, list)
        pairs = [(f"[{index}]", item) for index, item in enumerate(value)]
    for key, item in pairs:
        if isinstance(item, (dict, list)):
            yield f"{indent}{key}:"
            yield from _nested(item, indent + "    ")
        else:
            yield f"{indent}{key}: {str(item).lower() if isinstance(item, bool) else item}"


def map_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser)
    add_format(parser)


def run_map(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.api.images.mapping import image_map, image_map_lists

    if output.json_mode:
        with output.working(f"reading the map of {arguments.path.name}"):
            lists = image_map_lists(arguments.path, arguments.format)
        # All of them first: an error half-way must not leave half a JSON document.
        output.records([record.json_text() for records in lists for record in records])
    else:
        output.lines(_map_lines(image_map(arguments.path, arguments.format)))
    return 0


def _map_lines(records: Iterator[MapRecord]) -> Iterator[str]:
    """The lines with data, as of qemu-img."""
    # Before the heading: an image that cannot be read raises here, and then no table is begun.
    first = [record for record in (next(records, None),) if record is not None]
    yield f"{'Offset':<16}{'Length':<16}{'Mapped to':<16}File"
    for record in chain(first, records):
        if record.data and not record.zero:
            # Compressed and encrypted data have no offset in the file. qemu-img stops at them.
            place = "-" if record.offset is None else _hex(record.offset)
            row = f"{_hex(record.start):<16}{_hex(record.length):<16}{place:<16}"
            yield row + printable(str(record.path))


def _hex(number: int) -> str:
    """As C's %#x, which writes no 0x before 0."""
    return f"{number:#x}" if number else "0"
