"""Images that are themselves encrypted (LUKS in qcow2): no guest byte is in the clear."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from growdisk import api
from growdisk.api.current_run import Silent
from growdisk.units import GiB, MiB
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.oracle.qemu import qemu_img
from tests.unit.cli.command import Answer, fingerprint, in_process

_SECRET = b"open sesame"
_WORDS = b"what only the guest may read"


class Encrypted:
    """guest.qcow2, encrypted by QEMU with the passphrase in `key`; `plain` is its content."""

    def __init__(self, place: Path) -> None:
        self.folder, self.key, self.plain = place / "images", place / "key", place / "plain.raw"
        self.path = self.folder / "guest.qcow2"

    def make(self, form: str = "luks") -> Encrypted:
        self.folder.mkdir()
        self.key.write_bytes(_SECRET)
        make_disk(
            self.plain, SmallDisk(Layout.CLASSIC, 128 * MiB, swap_size=16 * MiB, image_format="raw")
        )
        _fill(self.plain)
        time = ",encrypt.iter-time=10" if form == "luks" else ""
        qemu_img(
            "convert", "-f", "raw", "-O", "qcow2", "--object", f"secret,id=s,file={self.key}",
            "-o", f"encrypt.format={form},encrypt.key-secret=s{time}", self.plain, self.path,
        )  # fmt: skip
        return self

    def __call__(self, *words: str | Path) -> Answer:
        return in_process(*words, "--key-file", self.key)

    def decrypted(self, path: Path | None = None) -> Path:
        """As QEMU reads it, in a raw file elsewhere."""
        there = self.key.with_name("decrypted.raw")
        image = f"driver=qcow2,encrypt.key-secret=s,file.filename={path or self.path}"
        secret = f"secret,id=s,file={self.key}"
        qemu_img("convert", "--object", secret, "--image-opts", image, "-O", "raw", there)
        return there

    def is_as_before(self) -> bool:
        return bool(qemu_img("compare", "-f", "raw", "-F", "raw", self.decrypted(), self.plain))

    def in_the_clear(self) -> list[str]:
        """The files in the images' folder, run folders and all, that hold what the guest wrote."""
        return [
            str(file)
            for file in self.folder.rglob("*")
            if file.is_file() and _WORDS in file.read_bytes()
        ]


def _fill(raw: Path) -> None:
    """A file of the guest that says the same words again and again."""
    document = raw.with_name("document")
    document.write_bytes((_WORDS + b"\n") * 40000)
    start = int(run("sfdisk", "-J", raw).split('"start": ')[1].split(",")[0]) * 512
    run("debugfs", "-w", "-R", f"write {document} document", f"{raw}?offset={start}")


def judged(raw: Path, size: int) -> None:
    """Foreign tools on the decrypted disk: the table, the file system, and its file."""
    assert raw.stat().st_size == size
    start = int(run("sfdisk", "-J", raw).split('"start": ')[1].split(",")[0]) * 512
    run("e2fsck", "-fn", f"{raw}?offset={start}")
    text = subprocess.run(
        ["debugfs", "-R", "cat document", f"{raw}?offset={start}"], capture_output=True, check=True
    ).stdout
    assert text == (_WORDS + b"\n") * 40000


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For reading only."""
    place = tmp_path_factory.mktemp("encrypted") / "place"
    place.mkdir()
    Encrypted(place).make()
    return place


@pytest.fixture
def encrypted(made_once: Path, tmp_path: Path) -> Encrypted:
    run("cp", "-a", "--sparse=always", made_once, tmp_path / "place")
    return Encrypted(tmp_path / "place")


@pytest.mark.parametrize("snapshots", ["internal", "overlay", "none"])
def test_encrypted_image_grows_with_all_that_is_in_it(encrypted: Encrypted, snapshots: str) -> None:
    assert encrypted.in_the_clear() == []
    assert "ext4" in encrypted("show", encrypted.path).out
    assert encrypted("plan", encrypted.path, "+1G").code == 0
    answer = encrypted(
        "expand", encrypted.path, "+1G", "--snapshots", snapshots, "--backend", "direct"
    )
    assert answer.code == 0, answer
    judged(encrypted.decrypted(), GiB + 128 * MiB)
    assert encrypted.in_the_clear() == []


@pytest.mark.parametrize("verb", ["show", "plan", "expand"])
def test_without_the_passphrase_nothing_is_touched(encrypted: Encrypted, verb: str) -> None:
    before = fingerprint(encrypted.path)
    answer = in_process(verb, encrypted.path)
    assert (answer.code, "--key-file" in answer.err) == (3, True)
    wrong = encrypted.key.with_name("wrong")
    wrong.write_bytes(b"open barley")
    answer = in_process(verb, encrypted.path, "--key-file", wrong)
    assert (answer.code, "cannot unlock" in answer.err) == (3, True)
    assert fingerprint(encrypted.path) == before


class _Mortal(Silent):
    def __init__(self, step: str) -> None:
        self._step = step

    def step_started(self, number: int, total: int, name: str, description: str) -> None:
        if name == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


def dies_in(image: Encrypted, step: str, snapshots: str) -> None:
    """A run that is killed when the step begins."""
    child = os.fork()
    if child == 0:
        options = api.RunOptions("direct", snapshots, keys=(_SECRET,))  # type: ignore[arg-type]
        api.expand(image.path, api.Goal(api.parse_size("+1G")), options, observer=_Mortal(step))
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("snapshots", ["internal", "overlay"])
@pytest.mark.parametrize("step", ["rewrite-partitions", "repair-guest"])
@pytest.mark.parametrize("verb", ["resume", "rollback"])
def test_run_that_was_killed_leaves_nothing_in_the_clear(
    encrypted: Encrypted, snapshots: str, step: str, verb: str
) -> None:
    dies_in(encrypted, step, snapshots)
    assert encrypted.in_the_clear() == []
    if verb == "resume" or snapshots == "overlay":
        answer = in_process(verb, encrypted.path)
        assert (answer.code, "--key-file" in answer.err) == (3, True)
    assert encrypted(verb, encrypted.path).code == 0
    assert encrypted.in_the_clear() == []
    if verb == "resume":
        judged(encrypted.decrypted(), GiB + 128 * MiB)
    else:
        assert encrypted.is_as_before()


@pytest.mark.parametrize("snapshots", ["internal", "overlay"])
@pytest.mark.parametrize("verb", ["rollback", "commit"])
def test_way_back_that_is_kept_is_encrypted_too(
    encrypted: Encrypted, snapshots: str, verb: str
) -> None:
    words = ("--keep-snapshots", "--snapshots", snapshots, "--backend", "direct")
    assert encrypted("expand", encrypted.path, "+1G", *words).code == 0
    assert encrypted.in_the_clear() == []
    assert encrypted(verb, encrypted.path).code == 0
    if verb == "commit":
        judged(encrypted.decrypted(), GiB + 128 * MiB)
    else:
        assert encrypted.is_as_before()


def test_internal_snapshots_are_taken_back_and_forgotten_without_the_passphrase(
    encrypted: Encrypted,
) -> None:
    words = ("--keep-snapshots", "--backend", "direct")
    assert encrypted("expand", encrypted.path, "+1G", *words).code == 0
    assert in_process("rollback", encrypted.path).code == 0
    assert encrypted.is_as_before()
    assert encrypted("expand", encrypted.path, "+1G", *words).code == 0
    assert in_process("commit", encrypted.path).code == 0
    judged(encrypted.decrypted(), GiB + 128 * MiB)


@pytest.mark.usefixtures("quick_keys")
def test_overlay_of_an_encrypted_base_grows_in_its_own_file(encrypted: Encrypted) -> None:
    top = encrypted.folder / "top.qcow2"
    created = in_process(
        "image", "create", "-b", encrypted.path, "-F", "qcow2", "--encrypt", "luks",
        "--key-file", encrypted.key, top,
    )  # fmt: skip
    assert created.code == 0, created
    before = fingerprint(encrypted.path)
    assert encrypted("expand", top, "+1G", "--backend", "direct").code == 0
    assert fingerprint(encrypted.path) == before
    assert encrypted.in_the_clear() == []
    assert "1.1 GiB" in encrypted("show", top).out


def test_legacy_form_is_looked_at_and_never_written(tmp_path: Path) -> None:
    image = Encrypted(tmp_path).make("aes")
    assert "ext4" in image("show", image.path).out
    before = fingerprint(image.path)
    for verb in ("plan", "expand"):
        answer = image(verb, image.path, "+1G")
        assert (answer.code, "legacy AES" in answer.err) == (3, True)
    assert fingerprint(image.path) == before


@pytest.mark.parametrize(
    "words", [(), ("--overlay",), ("--overlay", "--reproducible"), ("--format", "qcow2")]
)
def test_what_is_provisioned_of_an_encrypted_base_is_encrypted_with_its_key(
    encrypted: Encrypted, words: tuple[str, ...]
) -> None:
    out = encrypted.folder / "out.qcow2"
    before = fingerprint(encrypted.path)
    answer = encrypted("provision", encrypted.path, out, "--size", "1G", *words)
    assert answer.code == 0, answer
    assert (fingerprint(encrypted.path), encrypted.in_the_clear()) == (before, [])
    if "--overlay" in words:  # QEMU wants a secret for each layer
        assert "ext4" in encrypted("show", out).out
    else:
        judged(encrypted.decrypted(out), GiB)


def test_what_would_not_be_encrypted_is_not_provisioned(encrypted: Encrypted) -> None:
    out = encrypted.folder / "out.raw"
    assert encrypted("provision", encrypted.path, out, "--size", "1G", "--format", "raw").code == 3
    assert in_process("provision", encrypted.path, out, "--size", "1G").code == 3
    assert not out.exists()
