from __future__ import annotations

import zlib

import pytest

from growdisk.workflow.journal import Event, Journal, JournalRecord, read_journal
from tests.refusals import raises


def three_records(path):
    journal = Journal(path)
    for event in (Event.BEGIN, Event.CHECKED, Event.SNAPSHOTTING):
        journal.append(JournalRecord(event, "grow-filesystem", "größer", facts={"size": 1 << 40}))
    return journal


def test_records_come_back_as_they_were_written(tmp_path):
    written = three_records(tmp_path / "journal.jsonl").records
    assert Journal(tmp_path / "journal.jsonl").records == written


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_dropped_and_the_next_record_follows_the_sound_ones(tmp_path, cut):
    path = tmp_path / "journal.jsonl"
    three_records(path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert [record.event for record in read_journal(path)] == [Event.BEGIN, Event.CHECKED]
    Journal(path).append(JournalRecord(Event.APPLYING))
    assert [record.event for record in read_journal(path)] == [
        Event.BEGIN,
        Event.CHECKED,
        Event.APPLYING,
    ]


def test_reading_for_status_leaves_a_torn_line_alone(tmp_path):
    path = tmp_path / "journal.jsonl"
    three_records(path)
    torn = path.read_bytes()[:-3]
    path.write_bytes(torn)
    read_journal(path)
    assert path.read_bytes() == torn


def test_damage_in_the_middle_is_refused_by_line(tmp_path):
    path = tmp_path / "journal.jsonl"
    three_records(path)
    damaged = bytearray(path.read_bytes())
    damaged[20] ^= 1
    path.write_bytes(damaged)
    with raises("journal-damaged") as error:
        Journal(path)
    assert error.value.line == 1


@pytest.mark.parametrize("at", [1, 3])
def test_a_whole_record_in_words_of_a_later_growdisk_is_refused_and_never_cut_off(tmp_path, at):
    path = tmp_path / "journal.jsonl"
    three_records(path)
    lines = path.read_bytes().splitlines(keepends=True)
    body = b'{"event": "thawing", "step": null}'
    lines.insert(at, b"%08x %s\n" % (zlib.crc32(body), body))
    path.write_bytes(written := b"".join(lines))
    with raises("journal-damaged") as error:
        Journal(path)
    assert error.value.line == at + 1
    assert path.read_bytes() == written


def test_the_words_of_journals_that_lie_on_disks_already_stay():
    words = (
        "begin checked skipped snapshotting applying applied verified failed rollback restoring "
        "restored reverted parked keeping kept settling done undone"
    )
    assert [event.value for event in Event] == words.split()
