"""Rules as people write them, their mistakes, and metrics that another program can read."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from growdisk.api.fleet.values import DiskEntry, FileSystemUse
from growdisk.api.watching.actions import Action
from growdisk.api.watching.round import Round, as_text
from growdisk.api.watching.rules import load_rules
from growdisk.units import GiB
from tests.refusals import raises


def rules(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rules.yml"
    path.write_text(text)
    return path


def test_the_first_rule_that_is_for_a_disk_counts(tmp_path: Path) -> None:
    text = "rules:\n- domains: web1\n  step: 1G\n- domains: [web*, db]\n- images: a*.qcow2\n"
    loaded = load_rules(rules(tmp_path, text))
    chosen = [
        loaded.rule_for(DiskEntry("x", "/elsewhere/d.qcow2", domain=name))
        for name in ("web1", "web2", "db", "other")
    ]
    assert [rule and rule.step for rule in chosen] == ["1G", "20%", "20%", None]
    assert loaded.rule_for(DiskEntry("a", str(tmp_path / "ab.qcow2"))) is loaded.rules[2]
    assert loaded.rule_for(DiskEntry("b", str(tmp_path / "b.qcow2"))) is None


def test_a_disk_with_several_names_is_one(tmp_path: Path) -> None:
    image, link = tmp_path / "a.qcow2", tmp_path / "b.qcow2"
    image.touch()
    link.symlink_to(image)
    loaded = load_rules(
        rules(tmp_path, "rules:\n- images: b.qcow2\n  step: 1G\n- domains: web*\n- images: '*'\n")
    )
    files = [DiskEntry(str(path), str(path)) for path in (image, link)]
    off, on = (
        DiskEntry(name, str(image), name, state=state)
        for name, state in (("web1", "off"), ("web2", "running"))
    )  # type: ignore[arg-type]
    chosen = [
        loaded.in_force(entries)
        for entries in (files, [*files, off], [off, *files, on], [on], [*files[:1], off])
    ]
    assert [[(entry.name, rule.step) for entry, rule in pairs] for pairs in chosen] == [
        [(str(image), "1G")],
        [("web1", "1G")],
        [("web2", "1G")],
        [("web2", "20%")],
        [("web1", "20%")],
    ]
    gone = DiskEntry("c", str(tmp_path / "c.qcow2"), error={})
    assert (
        len(
            loaded.in_force(
                [gone, DiskEntry("libvirt", error={}), DiskEntry("web3", domain="web3")]
            )
        )
        == 3
    )


def test_a_step_is_a_share_of_the_disk_or_a_size(tmp_path: Path) -> None:
    text = (
        "rules:\n- domains: a\n  step: 25%\n- domains: b\n  step: 10G\n- domains: c\n  step: +5G\n"
    )
    sizes = [rule.size_for(40 * GiB) for rule in load_rules(rules(tmp_path, text)).rules]
    assert sizes == ["+10240M", "+10G", "+5G"]


def test_quiet_hours_may_go_over_midnight(tmp_path: Path) -> None:
    text = (
        'rules:\n- domains: a\n  quiet_hours: "22:00-06:00"\n- domains: b\n  quiet_hours: '
        "9:30-17:00\n"
    )
    night, day = load_rules(rules(tmp_path, text)).rules
    assert [night.is_quiet(time(hour)) for hour in (21, 22, 0, 5, 6)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert [day.is_quiet(time(hour)) for hour in (9, 10, 16, 17)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no rules"),
        ("rules: []", "empty"),
        ("rules:\n- when_used: 85%", "rules.yml:2:3: a rule needs domains or images"),
        ("rules:\n- domains: a\n  when: 85%", "rules.yml:3:3: a rule has no 'when'"),
        ("rules:\n- domains: a\n  when_used: most", "rules.yml:3:14: when_used"),
        ("rules:\n- domains: a\n  when_used: ''", "rules.yml:3:14: when_used"),
        ("rules:\n- domains: a\n  max_size: ''", "rules.yml:3:13: max_size"),
        ("rules:\n- domains: a\n  step: 0%", "rules.yml:3:9: step"),
        ("rules:\n- domains: a\n  step: 10GB", "rules.yml:3:9: step"),
        ("rules:\n- domains: a\n  max_size: +1G", "rules.yml:3:13: max_size"),
        ("rules:\n- domains: a\n  quiet_hours: 22-6", "rules.yml:3:16: quiet_hours"),
        ("rules:\n- domains: a\n  swap: keep", "rules.yml:3:9: swap"),
        ("rules:\n- domains: a\n  timeout: soon", "rules.yml:3:12: timeout soon"),
        ("rules:\n- domains: a\n  timeout: 0s", "rules.yml:3:12: timeout"),
        ("rules:\n- domains: a\n  timeout: 8d", "rules.yml:3:12: timeout"),
        ("rules:\n- images: ''", "rules.yml:2:11: images has a pattern without a letter"),
        ("rules:\n- domains: [a, '']", "rules.yml:2:12: domains has a pattern without a letter"),
        ('rules:\n- images: "a\\0b"', "rules.yml:2:11: this has a character that is none"),
        ('rules:\n- domains: "\\ud800"', "rules.yml:2:12: this has a character that is none"),
        ("x" * (9 << 20), "too large"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with raises("bad-file") as caught:
        load_rules(rules(tmp_path, text))
    assert says in caught.value.what


def test_the_metrics_are_read_by_another_program_whatever_the_disks_are_called() -> None:
    name = 'we"ird\\name\nwith lines'
    full = FileSystemUse("/srv", "xfs", 100, 80, "agent")
    actions = (
        Action(
            DiskEntry(name, virtual_size=10, actual_size=5, file_systems=(full,), idle=3),
            "grown",
            new_size=20,
        ),
        Action(DiskEntry("b", error={}), "refused", 3, "why"),
        Action(DiskEntry("b", error={}), "refused", 3, "named twice"),
    )
    families = {
        f.name: f
        for f in text_string_to_metric_families(as_text(Round(actions, 1.5, dry_run=False), 1e9))
    }
    (fullness,) = families["growdisk_filesystem_fullness_ratio"].samples
    assert (fullness.labels, fullness.value) == ({"disk": name, "filesystem": "/srv"}, 0.8)
    assert [sample.value for sample in families["growdisk_disk_size_bytes"].samples] == [20.0]
    results = {
        s.labels["disk"]: s.labels["result"] for s in families["growdisk_disk_last_result"].samples
    }
    assert results == {name: "grown", "b": "refused"}
    assert families["growdisk_watch_last_code"].samples[0].value == 3.0
