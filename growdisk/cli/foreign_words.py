"""Words of qemu-img, virt-resize, growpart and virsh, and growdisk's words for them.

Words that mean the same here are rewritten before the command line is parsed (`accepted`). All
others get a hint with the right command (`unknown_command`, `unknown_option`). Nothing here is
loaded for a command line that growdisk understands. Sources: qemu-img(1), virt-resize(1),
growpart(1), virsh(1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from growdisk.cli.common_options import names_at
from growdisk.errors import UsageError, bad_value, shell_word
from growdisk.suggestions import nearest

_GROW = "growdisk expand IMAGE +10G grows the disk and all that is in it"
_IMAGE_VERBS = (
    "map", "check", "compare", "create", "snapshot", "convert", "copy", "overlay", "rebase",
    "compact", "read", "write",
)  # fmt: skip
_QEMU_IMG = "qemu-img {word} does that; growdisk has no such command"

COMMANDS = {
    "resize": f"{_GROW}; growdisk image resize IMAGE SIZE changes the image alone",
    "grow": _GROW,
    "extend": _GROW,
    "enlarge": _GROW,
    "increase": _GROW,
    "virt-resize": (
        "growdisk expand IMAGE +10G grows in place; growdisk provision IN OUT --size "
        "40G makes a grown copy"
    ),
    "growpart": (
        "growdisk expand IMAGE --partition 1 fills the disk with partition 1 and what is in it"
    ),
    "blockresize": (
        "growdisk expand -d NAME 40G grows the disk of a running guest and all that is in it"
    ),
    "qemu-img": "growdisk image VERB has the verbs of qemu-img",
    "info": "growdisk show IMAGE draws the disk; growdisk image info IMAGE describes the image",
    "inspect": "growdisk show IMAGE",
    "ls": "growdisk list FOLDER",
    "df": "growdisk list IMAGE… says how full the file systems are",
    "virt-df": "growdisk list IMAGE… says how full the file systems are",
    "virt-filesystems": "growdisk list IMAGE…, or growdisk show IMAGE for one",
    "undo": "growdisk rollback IMAGE",
    "revert": "growdisk rollback IMAGE",
    "continue": "growdisk resume IMAGE",
    "playbook": "growdisk run PLAYBOOK",
    "dd": "growdisk image read IMAGE OFFSET LENGTH FILE, growdisk image write IMAGE OFFSET FILE",
    **dict.fromkeys(_IMAGE_VERBS, "growdisk image {word} does that"),
}

IMAGE_VERBS = {
    "dd": (
        "growdisk image read IMAGE OFFSET LENGTH FILE copies guest bytes into a file, growdisk "
        "image write back"
    ),
    "amend": "growdisk image resize IMAGE +0 --upgrade makes version 3 of version 2; "
    "growdisk image convert SRC DST -o NAME=VALUE makes a copy with other options",
    "bitmap": (
        "growdisk image convert SRC DST --bitmaps takes dirty bitmaps along; qemu-img "
        "bitmap changes them"
    ),
    "measure": _QEMU_IMG,
    "bench": _QEMU_IMG,
    "expand": "growdisk expand IMAGE SIZE",
    "show": "growdisk show IMAGE",
    "shrink": "growdisk image resize IMAGE SIZE --shrink",
}

_IN_USE = (
    "growdisk does not open an image that a guest writes to; growdisk image info -U describes it"
)
_CACHE = (
    "leave it out: growdisk reads and writes through the page cache, and what it made is "
    "durable when it ends"
)
_SECRET = "growdisk takes a passphrase with --key-file FILE"
# (the verb, or "image" for all of its verbs) → option → hint
OPTIONS: dict[str, dict[str, str]] = {
    "image": {
        "--image-opts": "name the file itself; the format with -f qcow2 or -f raw",
        "--object": _SECRET,
        "--secret": _SECRET,
        "-U": _IN_USE,
        "--force-share": _IN_USE,
        "-t": _CACHE,
        "-T": _CACHE,
        "--output": "--json, or --output json, or --output human",
    },
    "image convert": {
        "-n": "growdisk makes DST itself: remove DST, or convert to another name and rename it",
        "-S": "growdisk finds zeros by itself, cluster by cluster; "
        "-o preallocation=full makes an image without unallocated clusters",
        "-B": "growdisk image rebase OVERLAY -b NEW puts an overlay on another backing file",
        "-b": "growdisk image rebase OVERLAY -b NEW puts an overlay on another backing file",
        "-s": "-l SNAPSHOT converts an internal snapshot",
        "-C": "leave it out: growdisk lets the kernel copy by itself",
        "-r": (
            "leave it out: growdisk has no rate limit; ionice -c 3 growdisk … runs when the "
            "disk is idle"
        ),
        "--salvage": "qemu-img convert --salvage does that",
        "--target-image-opts": "name the file itself",
    },
    "image create": {"-u": "leave it out: growdisk opens the backing file to see that it is there"},
    "image commit": {
        "-d": (
            "leave it out: growdisk always empties the overlay after its data are in the "
            "backing file"
        ),
        "-b": "growdisk commits into the overlay's own backing file; commit once for each layer",
        "-r": "leave it out: growdisk has no rate limit",
    },
    "image rebase": {"-f": "leave it out: growdisk knows an overlay by itself"},
    "expand": {
        "--resize": (
            "--grow sda1=+1G (by), sda1=40G (to), sda1=60% (of the new space); may be "
            "given several times"
        ),
        "--size": "the SIZE stands after the image: IMAGE +10G",
        "--resize-force": "growdisk never shrinks a file system",
        "--shrink": "growdisk never shrinks a partition or a file system",
        "--machine-readable": "--json",
        "--ignore": "leave it out: growdisk keeps all partitions that it does not name in its plan",
        "--no-extra-partition": "leave it out: growdisk makes no extra partition",
        "--no-copy-boot-loader": "leave it out: growdisk works in place and keeps the boot loader",
        "--no-expand-content": (
            "--partition N grows it with what is in it; growdisk image resize grows the image alone"
        ),
        "--align-first": "leave it out: growdisk never moves the first partition",
        "--alignment": "leave it out: growdisk aligns to 1 MiB where the disk allows it",
        "--output-format": "growdisk works in place; growdisk image convert changes the format",
        "--ntfsresize-force": (
            "run chkdsk in Windows first, or start the guest once and shut it down"
        ),
        "--xfs": "leave it out: growdisk finds XFS by itself",
        "--force": "growdisk asks nothing; a refusal names the option that gives your consent",
        "--fudge": "leave it out: growdisk takes what is free",
        "--live": "-d NAME or --qmp SOCKET names a running guest",
    },
}
OPTIONS["plan"] = OPTIONS["show"] = OPTIONS["script"] = OPTIONS["expand"]

# qemu-img's options that mean the same here: other words, other places, or nothing to be said.
_SNAPSHOT = {"-l": "list", "-c": "create", "-a": "apply", "-d": "delete"}
_SAME_OPTION = {
    "image convert": {"-m": "--jobs", "--num-coroutines": "--jobs"},
    "expand": {"--expand": "--partition", "--LV-expand": "--lv", "--lv-expand": "--lv"},
}
_SAME_OPTION["plan"] = _SAME_OPTION["expand"]
_SIZED = ("expand", "plan", "script")
_DROPPED = {
    "image convert": ("-p", "--progress", "-W"),
    "image rebase": ("-p", "--progress"),
    "image compare": ("-p", "--progress"),
    "image commit": ("-p", "--progress"),
    "image check": ("-p", "--progress"),
}
_OTHER_FORMATS = frozenset(
    ("vmdk", "vdi", "vhdx", "vpc", "vhd", "qed", "qcow", "parallels", "luks", "dmg", "bochs")
)
_FORMATS = {"json": ["--json"], "human": []}


def accepted(words: Sequence[str]) -> list[str]:
    """`words` with those of other tools that mean the same here replaced by growdisk's own."""
    verb, given = _verb_of(words)
    rest = _snapshot_words(given) if verb == "image snapshot" else given
    # All up to the verb itself stays as it is.
    return [*words[: len(words) - len(given)], *_own(verb, rest)]


def _own(verb: str, rest: Sequence[str]) -> Iterator[str]:
    """The words after `verb` in growdisk's own; those that are refused stay as they are."""
    same, dropped, left = _SAME_OPTION.get(verb, {}), _DROPPED.get(verb, ()), iter(rest)
    sizes = []
    for word in left:
        name, equals, value = word.partition("=")
        if word == "--":
            # After it a word is never an option, whatever it looks like.
            yield from (word, *left)
        elif name == "--output" and verb.startswith("image "):
            value = value if equals else next(left, "")
            yield from _FORMATS.get(value, [word] if equals else [word, value])
        elif name == "--size" and verb in _SIZED:
            # The SIZE is a word of its own. If it is missing, the parser says so.
            sizes.append(value if equals else next(left, word))
        elif name in same:
            yield f"{same[name]}{equals}{value}"
        elif word not in dropped:
            yield word
    # After the image, wherever --size stood.
    yield from sizes


def _verb_of(words: Sequence[str]) -> tuple[str, list[str]]:
    """`image convert` and the words after it; "" if no command stands there."""
    names = names_at(words)
    if not names:
        return "", list(words)
    first = words[names[0]]
    if first == "image" and len(names) > 1:
        return f"image {words[names[1]]}", list(words[names[1] + 1 :])
    return first, list(words[names[0] + 1 :])


def _snapshot_words(rest: list[str]) -> list[str]:
    """`-c NAME IMAGE` as `create IMAGE NAME`; -l as list."""
    flag = next((word for word in rest if word in _SNAPSHOT), None)
    # `list`, `create` and so on come first in growdisk's own order: then nothing is to be moved.
    if flag is None or any(word in _SNAPSHOT.values() for word in rest[:1]):
        return rest
    at = rest.index(flag)
    if flag == "-l":
        return ["list", *rest[:at], *rest[at + 1 :]]
    # Slices, as words may be missing: the parser says that better.
    name, others = rest[at + 1 : at + 2], rest[:at] + rest[at + 2 :]
    return [_SNAPSHOT[flag], *others, *name]


def unknown_command(prog: str, word: str, known: Iterable[str]) -> UsageError:
    """`word` is not a command of `prog` ("growdisk", "growdisk image")."""
    known = list(known)
    summary = (IMAGE_VERBS if prog.endswith(" image") else COMMANDS).get(word, "")
    if summary:
        hint = summary.format(word=word)
    elif near := nearest(word, known):
        hint = f"did you mean {prog} {near}?"
    else:
        hint = f"one of: {', '.join(known)}; {prog} --help says what they do"
    return UsageError.named(
        "unknown-command",
        "there is no command '{word}'{_of}",
        "",
        "{hint}",
        {
            "word": word,
            "command": prog,
            "known": tuple(known),
            "_of": f" of {prog}" if " " in prog else "",
            "hint": hint,
        },
    )


def unknown_option(prog: str, word: str, known: Iterable[str]) -> UsageError:
    """`word` is not an option of `prog`; `known` are those that it has."""
    known = list(known)
    option, verb = word.partition("=")[0], prog.removeprefix("growdisk").strip()
    # First what the verb itself says; then what holds for all verbs of growdisk image.
    hint = OPTIONS.get(verb, {}).get(option) or OPTIONS.get(verb.partition(" ")[0], {}).get(option)
    near = difflib.get_close_matches(option, [n for n in known if n.startswith("--")], 1, 0.7)
    if not hint:
        hint = (
            f"did you mean {near[0]}? {prog} --help" if near else f"{prog} --help lists its options"
        )
    return UsageError.named(
        "no-such-option",
        "{command} has no option {option}",
        "",
        "{hint}",
        {"command": prog, "option": option, "known": tuple(known), "hint": hint},
    )


def unknown_value(
    prog: str, option: Sequence[str], word: str, choices: Iterable[object]
) -> UsageError:
    """The error for a `word` that is not one of an option's `choices`, or of an argument's.

    An argument has no `option`. `prog` is the command.
    """
    known = [str(choice) for choice in choices]
    near = nearest(word, known)
    # Among -f, -F and -O only, whose choices have qcow2.
    if word in _OTHER_FORMATS and "qcow2" in known:
        hint = f"growdisk knows qcow2 and raw; qemu-img convert reads and writes {word}"
    elif prog == "growdisk image snapshot" and not option and Path(word).exists():
        hint = f"what to do comes before the image: {prog} list {shell_word(Path(word))}"
    else:
        hint = f"one of: {', '.join(known)}; {prog} --help"
        if near:
            hint = f"did you mean {near}? {prog} --help"
    problem = f"'{word}' stands where {' or '.join(known)} should"
    if option:
        problem = f"{'/'.join(option)} cannot be '{word}'"
    return bad_value(problem, max(option, key=len, default=""), word, hint, choices=known)


def extra_words(prog: str, words: Sequence[str], size: str | None) -> UsageError:
    """`words` are more than `prog` takes; `size` stands where its SIZE does."""
    # `expand IMAGE + 10G`: the plus was taken for the SIZE, and 10G is left over.
    if size == "+":
        return UsageError("a SIZE is one word", f"write +{words[0]}")
    if prog in ("growdisk expand", "growdisk plan"):
        hint = "several images: growdisk run expand-root -e target='*.qcow2' -e size=+10G"
        problem = f"{prog} takes one image and one SIZE, and there is also: {' '.join(words)}"
        return UsageError(problem, hint)
    problem = f"there are more words than {prog} takes: {' '.join(words)}"
    is_size = prog == "growdisk provision" and words[0].lstrip("+")[:1].isdigit()
    return UsageError(problem, f"--size {words[0]}" if is_size else f"{prog} --help")
