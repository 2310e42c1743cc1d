"""What provisioning changes inside a guest: judged by foreign readers.

And that the same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from pathlib import Path

import pytest

from growdisk import api
from growdisk.api.provisioning.recipe import FileInto, KeysFor, PasswordFor, Seed
from growdisk.errors import UsageError, error_id
from growdisk.units import GiB, MiB, SizeSpec
from tests.e2e.provisioned import EVERYTHING, KEY, GuestAccess
from tests.guests.debian_files import OLD_KEY, debian_files
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.unit.cli.command import growdisk


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Debian-like guest, for reading only."""
    disk = SmallDisk(size=128 * MiB, swap_size=16 * MiB, extra_files=debian_files())
    return make_disk(tmp_path_factory.mktemp("debian") / "base.qcow2", disk)


def recipe(**changes: object) -> api.Recipe:
    return api.Recipe(**({"size": SizeSpec(GiB, relative=False), "backend": "direct"} | changes))


def made(base: Path, out: Path, *, force: bool = False, **changes: object) -> api.Provisioned:
    (output,) = api.provision(base, [api.Output(out)], recipe(**changes), force=force).outputs
    return output


def test_a_guest_gets_its_own_name_keys_accounts_and_files(debian: Path, tmp_path: Path) -> None:
    output = made(debian, tmp_path / "web.qcow2", **EVERYTHING)
    assert output.error is None and output.growpart == "nothing"
    inside = GuestAccess(tmp_path / "web.qcow2")
    assert inside.texts["/etc/hostname"] == "web-1.example\n"
    assert (
        "127.0.1.1\tweb-1.example web-1\n" in inside.texts["/etc/hosts"]
        and "tiny" not in inside.texts["/etc/hosts"]
    )
    assert inside.texts["/etc/machine-id"] == "" and "/var/lib/dbus/machine-id" not in inside.files
    assert not [
        path for path in inside.files if "ssh_host" in path and path.endswith(("key", ".pub"))
    ]
    unit = "growdisk-ssh-host-keys.service"
    link = inside.files[f"/etc/systemd/system/multi-user.target.wants/{unit}"]
    assert (
        link.content == f"/etc/systemd/system/{unit}"
        and "ssh-keygen -A" in inside.texts[link.content]
    )
    named = '/opt/app/a "quoted" name'
    assert inside.texts[named] == "for web-1.example, red\n"
    assert inside.owner_and_mode(named) == ((1000, 4), 0o640)
    assert inside.texts["/etc/fstab.d"] == "x" * 70_000 and inside.owner_and_mode(
        "/etc/fstab.d"
    ) == ((7, 7), 0o644)


def test_keys_and_passwords_are_right_for_sshd_and_login(debian: Path, tmp_path: Path) -> None:
    made(debian, tmp_path / "web.qcow2", **EVERYTHING)
    inside = GuestAccess(tmp_path / "web.qcow2")
    assert inside.owner_and_mode("/home/ann/.ssh") == ((1000, 1001), 0o700)
    assert inside.owner_and_mode("/home/ann/.ssh/authorized_keys") == ((1000, 1001), 0o600)
    assert inside.texts["/home/ann/.ssh/authorized_keys"] == f"{KEY}\n"
    assert inside.owner_and_mode("/root/.ssh") == ((0, 0), 0o700)
    assert inside.texts["/root/.ssh/authorized_keys"] == f"{OLD_KEY}\n{KEY}\n"
    root, ann, bare = (line.split(":") for line in inside.texts["/etc/shadow"].splitlines())
    assert (ann[1], bare[1]) == ("!", "!") and inside.owner_and_mode("/etc/shadow") == (
        (0, 0),
        0o640,
    )
    perl = ["perl", "-e", "print crypt('secret', <STDIN>)"]
    again = subprocess.run(perl, input=root[1], capture_output=True, text=True)
    assert root[1].startswith("$y$") and again.stdout == root[1]
    assert int(root[2]) == int(time.time()) // 86400


def test_new_host_keys_are_a_guests_own_and_their_fingerprints_are_told(
    debian: Path, tmp_path: Path
) -> None:
    output = made(debian, tmp_path / "web.qcow2", size=None, new_ssh_host_keys=True)
    assert output.error is None
    inside = GuestAccess(tmp_path / "web.qcow2")
    for kind in ("ed25519", "ecdsa", "rsa"):
        key = f"/etc/ssh/ssh_host_{kind}_key"
        assert inside.owner_and_mode(key) == ((0, 0), 0o600) and inside.owner_and_mode(
            f"{key}.pub"
        ) == ((0, 0), 0o644)
        (tmp_path / "key.pub").write_text(inside.texts[f"{key}.pub"])
        (tmp_path / "key").write_text(inside.texts[key])
        (tmp_path / "key").chmod(0o600)
        assert (
            run("ssh-keygen", "-y", "-f", tmp_path / "key").split()[1]
            == inside.texts[f"{key}.pub"].split()[1]
        )
        assert run("ssh-keygen", "-lf", tmp_path / "key.pub").split()[1] in output.customized[0]
    assert "/etc/systemd/system/growdisk-ssh-host-keys.service" not in inside.files


def test_a_guest_that_does_not_know_yescrypt_gets_a_hash_that_it_knows(tmp_path: Path) -> None:
    older = tuple(entry for entry in debian_files() if entry.path != "etc/login.defs")
    base = make_disk(
        tmp_path / "base.qcow2", SmallDisk(size=128 * MiB, swap_size=16 * MiB, extra_files=older)
    )
    made(base, tmp_path / "web.qcow2", size=None, passwords=(PasswordFor("root", b"secret"),))
    assert GuestAccess(tmp_path / "web.qcow2").texts["/etc/shadow"].startswith("root:$6$")


@pytest.mark.parametrize("shape", [{"overlay": True}, {}, {"compress": True}, {"format": "raw"}])
def test_the_same_inputs_give_the_same_bytes(
    shape: dict[str, object], debian: Path, tmp_path: Path
) -> None:
    prints = []
    for _ in range(2):
        out = tmp_path / "web.img"
        assert (
            made(
                debian, out, force=True, seed=Seed(), reproducible=True, **EVERYTHING, **shape
            ).error
            is None
        )
        prints.append(
            [
                hashlib.sha256(file.read_bytes()).hexdigest()
                for file in (out, tmp_path / "web-seed.iso")
            ]
        )
        time.sleep(1.1)
    assert prints[0] == prints[1]


def test_without_being_asked_for_the_same_bytes_a_salt_is_never_used_twice(
    debian: Path, tmp_path: Path
) -> None:
    for name in "ab":
        made(debian, tmp_path / f"{name}.qcow2", passwords=(PasswordFor("root", b"secret"),))
    shadows = [GuestAccess(tmp_path / f"{name}.qcow2").texts["/etc/shadow"] for name in "ab"]
    assert shadows[0] != shadows[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"authorized_keys": (KeysFor("nobody-here", KEY),)}, "nobody-here"),
        ({"authorized_keys": (KeysFor("bare", KEY),)}, "/home/bare"),
        ({"passwords": (PasswordFor("nobody-here", b"x"),)}, "nobody-here"),
        ({"files": (FileInto("/etc/x", content="", owner="root", group="wheel"),)}, "wheel"),
    ],
)
def test_what_a_guest_does_not_have_is_named_and_nothing_is_left(
    changes: dict[str, object], words: str, debian: Path, tmp_path: Path
) -> None:
    error = made(debian, tmp_path / "web.qcow2", size=None, **changes).error
    assert error and error_id(error) == "cannot-customize" and words in error.why
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"hostname": "no spaces"},
        {"hostname": "{{ unknown }}"},
        {"hostname": "{{ ().__class__.__mro__ }}"},
        {"authorized_keys": (KeysFor("root", "-----BEGIN OPENSSH PRIVATE KEY-----"),)},
        {"passwords": (PasswordFor("root", hashed="in the clear"),)},
        {"files": (FileInto("relative", content=""),)},
        {"files": (FileInto("/etc/../x", content=""),)},
        {"files": (FileInto("/x", source=Path("/no/such/file")),)},
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_made(
    changes: dict[str, object], debian: Path, tmp_path: Path
) -> None:
    assert isinstance(made(debian, tmp_path / "web.qcow2", **changes).error, UsageError)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_a_guest_cannot_be_given_a_name(tmp_path: Path) -> None:
    empty = tmp_path / "empty.raw"
    data = make_disk(tmp_path / "data.qcow2", SmallDisk(size=128 * MiB))
    run("truncate", "-s", "8M", empty)
    for base in (empty, data):
        error = made(base, tmp_path / "out.img", size=None, hostname="web").error
        assert error is not None and "no file system in the image has /etc/passwd" in error.why
        assert not (tmp_path / "out.img").exists()


def test_a_seed_is_what_cloud_init_looks_for(debian: Path, tmp_path: Path) -> None:
    (tmp_path / "user").write_text("#cloud-config\nfqdn: {{ hostname }}.example\n")
    (tmp_path / "net").write_text("version: 2\n")
    seed = Seed(user_data=tmp_path / "user", network_config=tmp_path / "net")
    output = made(debian, tmp_path / "web.qcow2", overlay=True, hostname="web", seed=seed)
    assert output.seed == tmp_path / "web-seed.iso"
    assert 'LABEL="cidata"' in run("blkid", "-p", output.seed)
    run("bsdtar", "-xf", output.seed, "-C", tmp_path)
    assert (tmp_path / "user-data").read_text() == "#cloud-config\nfqdn: web.example\n"
    assert (tmp_path / "network-config").read_text() == "version: 2\n"
    meta = (tmp_path / "meta-data").read_text()
    assert meta.startswith("instance-id: iid-") and 'local-hostname: "web"' in meta


@pytest.mark.parametrize("swap", ["drop", "move"])
def test_cloud_inits_growpart_itself_finds_nothing_left_to_do(
    swap: str, debian: Path, tmp_path: Path
) -> None:
    output = made(debian, tmp_path / "web.raw", format="raw", swap=swap)
    said = subprocess.run(["growpart", "-N", output.path, "1"], capture_output=True, text=True)
    assert said.returncode == 1 and said.stdout.startswith("NOCHANGE:"), said
    assert output.growpart == "nothing"


def test_what_growpart_would_find_is_told(debian: Path, tmp_path: Path) -> None:
    run("qemu-img", "convert", "-O", "raw", debian, tmp_path / "lags.raw")
    run("sfdisk", "-q", "--delete", tmp_path / "lags.raw", "2")
    output = made(tmp_path / "lags.raw", tmp_path / "web.raw", size=None, seed=Seed())
    said = subprocess.run(["growpart", "-N", output.path, "1"], capture_output=True, text=True)
    assert said.returncode == 0 and "could grow by" in output.growpart


def test_json_says_what_was_done_and_no_secret(debian: Path, tmp_path: Path) -> None:
    report = api.provision(debian, [api.Output(tmp_path / "web.qcow2")], recipe(**EVERYTHING))
    said = json.dumps(api.provision_document(report)) + repr(recipe(**EVERYTHING))
    assert "secret" not in said and "$y$" not in said and "password of root: set" in said


def test_the_command_line_makes_many_and_tells_no_secret(debian: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("quite secret\n")
    (tmp_path / "key.pub").write_text(f"{KEY}\n")
    (tmp_path / "motd.j2").write_text("I am {{ hostname }}, number {{ n }}\n")
    (tmp_path / "list.csv").write_text(
        f"name,size,role\n{tmp_path}/a.qcow2,1G,web\n{tmp_path}/b.qcow2,+1G,db\n"
    )
    answer = growdisk(
        "-v", "-x", "--json", "provision", debian, "--list", tmp_path / "list.csv", "-j", "2",
        "--overlay", "--hostname", "{{ role }}-{n:02}",
        "--password", f"root:file:{tmp_path}/password", "--ssh-key", f"ann:{tmp_path}/key.pub",
        "--template", f"{tmp_path}/motd.j2:/etc/motd:0600:ann",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "debugfs" in answer.err, "what is run is told"
    assert not [secret for secret in ("quite secret", "$y$") if secret in answer.out + answer.err]
    sizes = [made["virtual_size"] for made in answer.json()["outputs"]]
    assert sizes == [GiB, GiB + 128 * MiB]
    inside = GuestAccess(tmp_path / "b.qcow2")
    assert (
        inside.texts["/etc/hostname"] == "db-02\n"
        and inside.texts["/etc/motd"] == "I am db-02, number 2\n"
    )
    assert inside.owner_and_mode("/etc/motd") == ((1000, 1001), 0o600)
