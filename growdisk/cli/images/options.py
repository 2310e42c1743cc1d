"""The -o of create and convert: qemu-img's option names, and `-o help` that lists them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

_QCOW2 = {
    "cluster_size=SIZE": "512 to 2M, a power of two (default: 64k)",
    "compat=0.10|1.1": "version 2 or 3 (default: 1.1)",
    "refcount_bits=N": "1, 2, 4, 8, 16, 32 or 64 (default: 16)",
    "lazy_refcounts=on|off": "refcounts may be written late (default: off)",
    "extended_l2=on|off": "clusters of 32 subclusters (default: off)",
    "compression_type=zlib|zstd": "of compressed clusters (default: zlib)",
    "preallocation=off|metadata|falloc|full": "room that is taken at once (default: off)",
    "data_file=FILE": "guest data go to this file beside the image",
    "data_file_raw=on|off": "that file stays a valid raw image (default: off)",
}
_RAW = {"preallocation=off|falloc|full": "room that is taken at once (default: off)"}
_NAMES = ", ".join(word.partition("=")[0] for word in _QCOW2)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", dest="options", action=_Options, default=[], metavar="NAME=VALUE,...",
        help=f"{_NAMES}; raw: preallocation; -o help says more",
    )  # fmt: skip


class _Options(argparse.Action):
    """Collects the words of several -o; `help` is answered at once, whatever else is missing."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        if values in ("help", "?"):
            parser.format_help = _listing  # type: ignore[method-assign]
            parser.print_help()
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), values])


def _listing() -> str:
    lines = ["-o of a qcow2 image:"]
    lines += [f"  {name:<40}{text}" for name, text in _QCOW2.items()]
    lines.append("-o of a raw image:")
    lines += [f"  {name:<40}{text}" for name, text in _RAW.items()]
    lines.append("Backing file and encryption have options of their own: -b, -F, --encrypt luks, --key-file.")
    return "\n".join(lines)
