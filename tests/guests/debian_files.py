"""What provisioning touches of a Debian: accounts, SSH host keys, machine-id, systemd's folders."""

from __future__ import annotations

from tests.guests.content import Entry, directory, text

PASSWD = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1001::/home/ann:/bin/bash\nbare:x:1002:1002::/home/bare:/bin/sh\n"  # noqa: E501
SHADOW = "root:*:19000:0:99999:7:::\nann:!:19000:0:99999:7:::\nbare:!:19000:0:99999:7:::\n"
OLD_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOldOldOldOldOldOldOldOldOld old"


def debian_files() -> tuple[Entry, ...]:
    folders = (
        "etc/ssh", "etc/systemd", "etc/systemd/system",
        "etc/systemd/system/multi-user.target.wants", "var", "var/lib", "var/lib/dbus", "home",
    )  # fmt: skip
    keys = [
        f"etc/ssh/ssh_host_{kind}_key{end}" for kind in ("rsa", "ed25519") for end in ("", ".pub")
    ]
    return (
        *map(directory, folders),
        directory("root", 0o700),
        directory("root/.ssh", 0o755),
        text("root/.ssh/authorized_keys", f"{OLD_KEY}\n"),
        directory("home/ann", 0o750, (1000, 1001)),
        text("etc/passwd", PASSWD),
        text("etc/shadow", SHADOW, 0o640),
        text("etc/login.defs", "# passwords\nENCRYPT_METHOD YESCRYPT\n"),
        text("etc/group", "root:x:0:\nadm:x:4:ann\nann:x:1001:\n"),
        text(
            "etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\ttiny.example tiny\n::1 ip6-localhost\n"
        ),
        text("etc/machine-id", "0123456789abcdef0123456789abcdef\n", 0o444),
        text("var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n"),
        *(text(key, "key\n", 0o600) for key in keys),
    )
