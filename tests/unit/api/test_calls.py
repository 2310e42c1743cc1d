"""growdisk called by another program: names, values, and errors as exceptions."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path

import pytest

from growdisk import api
from growdisk.error_document import error_document
from growdisk.errors import ImageNotReadable, Refused
from growdisk.planner.goal import Goal, RunOptions
from growdisk.units import MiB, SizeSpec
from tests.guests.small import SmallDisk, make_disk
from tests.refusals import raises


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_disk(
        tmp_path_factory.mktemp("api") / "guest.qcow2",
        SmallDisk(size=128 * MiB, swap_size=16 * MiB),
    )


@pytest.fixture
def image(shared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(shared, tmp_path / "guest.qcow2"))


def test_a_size_may_say_that_the_disk_stays_as_large_as_it_is(image: Path) -> None:
    stays = SizeSpec(0, relative=True)
    assert api.plan(image, "+0").after == api.plan(image, stays).after


def test_every_name_of_the_room_can_be_had() -> None:
    for name in api.__all__:
        assert callable(getattr(api, name))
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        _ = api.frobnicate  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "file", sorted(path.stem for path in Path(api.__file__).parent.glob("*.py"))
)
def test_no_file_hides_a_function(file: str) -> None:
    """Importing growdisk.api.X sets the attribute X of growdisk.api, whatever it was before."""
    assert file not in api.__all__
    if file != "__init__":
        import_module(f"growdisk.api.{file}")
        assert callable(api.status)


def test_inspect_gives_facts(image: Path) -> None:
    facts = api.inspect(image)
    assert (facts.image.format, facts.image.version) == ("qcow2", 3)
    assert facts.image.virtual_size == 128 * MiB
    assert {number: content.kind for number, content in facts.contents.items()} == {
        1: "ext4",
        5: "swap",
    }
    assert [facts.kind_of(part.number) for part in facts.blockers()] == [
        "extended partition",
        "swap",
    ]
    assert [part.number for part in facts.candidates] == [1]


def test_plan_is_a_value(image: Path) -> None:
    result = api.plan(image, Goal(SizeSpec(64 * MiB, relative=True)), RunOptions())
    assert (result.result, result.exit_code, result.error) == ("planned", 0, None)
    assert result.snapshots == "internal"
    assert result.after.image.virtual_size == 192 * MiB


def test_refusals_are_raised_with_their_facts(image: Path) -> None:
    with raises("would-shrink") as caught:
        api.expand(image, Goal(SizeSpec(64 * MiB, relative=False)), RunOptions())
    assert error_document(caught.value)["data"] == {
        "path": str(image),
        "old": 128 * MiB,
        "new": 64 * MiB,
        "subject": "",
    }
    assert isinstance(caught.value, Refused)
    assert not image.with_name("guest.qcow2.growdisk").exists()


@pytest.mark.parametrize(
    "call", [api.resume, api.rollback, api.commit], ids=lambda call: str(call.__name__)
)
def test_what_needs_a_run_refuses_without_one(image: Path, call: object) -> None:
    with raises("no-such-run"):
        call(image)  # type: ignore[operator]


def test_missing_image_is_told_by_every_call(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ImageNotReadable):
        api.inspect(missing)
    with pytest.raises(ImageNotReadable):
        api.expand(missing, Goal(), RunOptions())
    with pytest.raises(ImageNotReadable):
        api.status(missing)


def test_format_that_is_given_is_not_probed(image: Path) -> None:
    facts = api.inspect(image, "raw")
    assert (facts.image.format, facts.table) == ("raw", None)
