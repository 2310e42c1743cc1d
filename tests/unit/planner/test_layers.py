"""What is judged of a content before any write: mkfs's facts, and requests that go too far."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.api.disk_facts import image_facts, inspect_device
from growdisk.block.raw import RawFile
from growdisk.errors import Refused
from growdisk.filesystems.content import BtrfsContent, Content, NtfsContent
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.units import MiB, parse_size
from tests.guests.tools import place_content
from tests.unit.partitions.disks import make_disk, run


def _base64url(header: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")


def facts_of(folder: Path, maker: Sequence[str], size: int) -> Facts:
    """A disk whose only partition holds what `maker` makes."""
    alone, disk = folder / "alone", folder / "disk.raw"
    with alone.open("wb") as file:
        file.truncate(size)
    run(*maker, alone)
    make_disk(disk, size + 2 * MiB, f"label: gpt\n2048,{size // 512},L\n")
    place_content(alone, disk, MiB)
    with closing(RawFile.open(disk, writable=False, lock=False)) as device:
        return inspect_device(device, image_facts(device, disk))


def proposed(facts: Facts, size: str) -> Proposal:
    proposal = propose(facts, Goal(parse_size(size)))
    assert isinstance(proposal, Proposal)
    return proposal


def with_content(facts: Facts, content: Content) -> Facts:
    return replace(facts, contents={1: content})


def test_an_xfs_that_would_have_hundreds_of_groups_is_warned_of_and_a_little_growth_is_not(
    tmp_path: Path,
) -> None:
    facts = facts_of(tmp_path, ["mkfs.xfs", "-q"], 320 * MiB)
    (note,) = proposed(facts, "100G").notes
    assert "allocation groups instead of 4" in note
    assert int(note.split(" will have ")[1].split()[0]) > 1000
    assert proposed(facts, "600M").notes == ()


@pytest.mark.parametrize(
    "features", ["^64bit,^resize_inode", "^64bit", "^resize_inode,^64bit,^metadata_csum"]
)
def test_an_ext4_that_counts_blocks_in_32_bits_is_refused_beyond_them_and_grown_up_to_them(
    tmp_path: Path, features: str
) -> None:
    facts = facts_of(tmp_path, ["mkfs.ext4", "-q", "-b", "4096", "-O", features], 64 * MiB)
    with pytest.raises(Refused, match="32 bits") as refusal:
        proposed(facts, "17T")
    assert "16.0 TiB at most" in refusal.value.why
    assert proposed(facts, "15T").after.contents[1].size == parse_size("15T").bytes - 2 * MiB


def test_an_ext4_that_counts_in_64_bits_goes_further(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, ["mkfs.ext4", "-q", "-b", "4096", "-O", "64bit"], 64 * MiB)
    assert (proposed(facts, "17T").after.contents[1].size or 0) > parse_size("16T").bytes


@pytest.mark.parametrize(
    ("state", "why", "do"),
    [("dirty", "marked as dirty", "chkdsk"), ("hibernated", "hibernated", "shutdown /s")],
)
def test_an_ntfs_that_windows_has_not_left_in_order_is_refused(
    tmp_path: Path, state: str, why: str, do: str
) -> None:
    facts = facts_of(tmp_path, ["mkntfs", "-F", "-q", "-f"], 32 * MiB)
    content = facts.contents[1]
    assert isinstance(content, NtfsContent)
    assert proposed(facts, "+64M").after.contents[1].size
    with pytest.raises(Refused) as refusal:
        proposed(with_content(facts, replace(content, **{state: True})), "+64M")
    assert why in refusal.value.why
    assert do in refusal.value.what_to_do


def test_a_btrfs_on_several_devices_is_refused(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, ["mkfs.btrfs", "-q"], 128 * MiB)
    content = facts.contents[1]
    assert isinstance(content, BtrfsContent)
    assert proposed(facts, "+128M").after.contents[1].size == 256 * MiB
    with pytest.raises(Refused, match=r"256\.0 MiB"):
        proposed(facts, "+64M")
    with pytest.raises(Refused, match="2 devices"):
        proposed(with_content(facts, replace(content, devices=2)), "+64M")


_JWE = {"clevis": {"pin": "tpm2", "tpm2": {"pcr_bank": "sha256", "pcr_ids": "1,5"}}}
_SYSTEMD = {
    "type": "systemd-tpm2", "keyslots": ["0"], "tpm2-blob": "AA==", "tpm2-pcr-bank": "sha256",
    "tpm2-primary-alg": "ecc", "tpm2-policy-hash": "aa", "tpm2-pin": False,
}  # fmt: skip
TOKENS = {
    "systemd": ({**_SYSTEMD, "tpm2-pcrs": [5, 7]}, True),
    "systemd, by other registers": ({**_SYSTEMD, "tpm2-pcrs": [7]}, False),
    "systemd, signed": ({**_SYSTEMD, "tpm2-pcrs": [], "tpm2_pubkey_pcrs": [5, 11]}, True),
    "clevis": ({"type": "clevis", "keyslots": ["0"], "jwe": {"protected": _base64url(_JWE)}}, True),
    "clevis, not understood": (
        {"type": "clevis", "keyslots": ["0"], "jwe": {"protected": "!"}},
        False,
    ),
    "another": ({"type": "systemd-recovery", "keyslots": ["0"]}, False),
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_container_that_a_tpm_opens_by_the_partition_table_is_told(
    tmp_path: Path, name: str
) -> None:
    token, is_told = TOKENS[name]
    key, file, script = tmp_path / "key", tmp_path / "token", tmp_path / "make"
    key.write_text("phrase")
    file.write_text(json.dumps(token))
    script.write_text(
        "set -e\ncryptsetup -q luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations "
        f"1000 $1 {key}\n"
        f"cryptsetup token import --json-file {file} $1\n"
    )
    facts = facts_of(tmp_path, ["sh", str(script)], 32 * MiB)
    proposal = propose(facts, Goal(parse_size("+64M"), partition="1"))
    assert isinstance(proposal, Proposal)
    assert any("PCR 5" in note for note in proposal.notes) == is_told
