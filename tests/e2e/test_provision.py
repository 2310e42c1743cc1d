"""Images made from a base: every way of getting its content, growth, and refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from growdisk import api
from growdisk.api.images.creating import create_overlay
from growdisk.api.provisioning.guest import refuse_without_guest
from growdisk.api.provisioning.recipe import Seed
from growdisk.api.provisioning.run import Watcher
from growdisk.api.provisioning.work_image import put_in_place
from growdisk.block.raw import RawFile
from growdisk.error_document import error_document
from growdisk.errors import ImageInUse, ImageNotReadable, UsageError, error_id
from growdisk.units import GiB, MiB, SizeSpec
from growdisk.workflow.failures import Interrupted
from growdisk.workflow.stopping import StopRequest
from tests.e2e.judges import Before, assert_grown, virtual_size
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.refusals import raises as refused
from tests.unit.cli.runs import run_on

SIZE = SizeSpec(GiB, relative=False)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base.qcow2 and base.raw, for reading only."""
    folder = tmp_path_factory.mktemp("bases")
    make_disk(folder / "base.qcow2", SmallDisk(size=128 * MiB, swap_size=16 * MiB))
    make_disk(
        folder / "base.raw", SmallDisk(size=128 * MiB, swap_size=16 * MiB, image_format="raw")
    )
    return folder


@pytest.fixture
def base(bases: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(bases / "base.qcow2", tmp_path / "base.qcow2"))


def recipe(**changes: object) -> api.Recipe:
    return api.Recipe(**({"size": SIZE, "backend": "direct"} | changes))


def made(base: Path, out: Path, *, force: bool = False, **changes: object) -> api.Provisioned:
    (output,) = api.provision(base, [api.Output(out)], recipe(**changes), force=force).outputs
    return output


def hidden_files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "growdisk" in path.name]


@pytest.mark.parametrize(
    ("source", "name", "changes"),
    [
        ("base.qcow2", "out.qcow2", {}),
        ("base.raw", "out.raw", {}),
        ("base.qcow2", "out.qcow2", {"overlay": True}),
        ("base.raw", "out.qcow2", {"overlay": True}),
        ("base.qcow2", "out.raw", {"format": "raw"}),
        ("base.raw", "out.qcow2", {"format": "qcow2", "compression": "zstd"}),
        # The name promises a format.
        ("base.raw", "out.qcow2", {}),
        ("base.qcow2", "out.raw", {}),
    ],
)
def test_an_output_is_the_base_grown_with_all_its_layers(
    source: str, name: str, changes: dict[str, object], bases: Path, tmp_path: Path
) -> None:
    base, out = Path(shutil.copy(bases / source, tmp_path / source)), tmp_path / name
    before, untouched = Before.of(base, base.suffix[1:]), base.read_bytes()
    output = made(base, out, **changes)
    assert output.error is None and output.result == "created"
    assert virtual_size(out) == GiB
    grown = Before(before.copy, out.suffix[1:], before.files, before.start_sectors)
    assert_grown(out, grown)
    assert base.read_bytes() == untouched
    assert hidden_files(tmp_path) == []


def test_a_copy_of_a_sparse_raw_base_stays_sparse(bases: Path, tmp_path: Path) -> None:
    made(bases / "base.raw", tmp_path / "out.raw")
    assert (tmp_path / "out.raw").stat().st_blocks * 512 < 96 * MiB


def test_a_compressed_output_is_smaller_than_a_copy(base: Path, tmp_path: Path) -> None:
    made(base, tmp_path / "plain.qcow2")
    made(base, tmp_path / "small.qcow2", compress=True)
    sizes = [(tmp_path / name).stat().st_size for name in ("small.qcow2", "plain.qcow2")]
    assert sizes[0] < sizes[1]


def test_a_base_with_snapshots_and_a_backing_file_becomes_one_whole_file(
    base: Path, tmp_path: Path
) -> None:
    layer, out = tmp_path / "layer.qcow2", tmp_path / "out.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", layer)
    run("qemu-img", "snapshot", "-c", "past", layer)
    assert made(layer, out).error is None
    info = json.loads(run("qemu-img", "info", "--output=json", out))
    assert "backing-filename" not in info and "snapshots" not in info


def test_a_base_that_a_guest_reads_may_be_shared(base: Path, tmp_path: Path) -> None:
    with held(base, "-r"):
        assert made(base, tmp_path / "out.qcow2", overlay=True).error is None


def test_a_base_that_somebody_writes_to_is_refused(base: Path, tmp_path: Path) -> None:
    with held(base), pytest.raises(ImageInUse):
        made(base, tmp_path / "out.qcow2")
    assert hidden_files(tmp_path) == [] and not (tmp_path / "out.qcow2").exists()


def test_an_output_that_exists_is_replaced_only_by_force(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.qcow2"
    out.write_text("precious")
    error = made(base, out).error
    assert error and error_id(error) == "output-exists"
    assert out.read_text() == "precious"
    assert made(base, out, force=True).error is None
    assert virtual_size(out) == GiB


def test_force_spares_what_is_in_use_and_what_the_base_needs(base: Path, tmp_path: Path) -> None:
    layer, out = tmp_path / "layer.qcow2", tmp_path / "out.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", layer)
    run("qemu-img", "create", "-q", "-f", "qcow2", out, "1M")
    with held(out):
        assert isinstance(made(base, out, force=True).error, ImageInUse)
    layer_on = tmp_path / "layer_on.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", out, "-F", "qcow2", layer_on)
    assert error_id(made(base, out, force=True).error) == "overlays-on-it"
    assert error_id(made(base, base, force=True).error) == "not-provisioned"
    assert error_id(made(layer, base, force=True).error) == "not-provisioned"


def test_force_spares_the_data_file_of_the_base(base: Path, tmp_path: Path) -> None:
    outer, data = tmp_path / "outer.qcow2", tmp_path / "outer.data"
    options = f"data_file={data}"
    run("qemu-img", "convert", "-q", "-O", "qcow2", "-o", options, base, outer)
    assert error_id(made(outer, data, force=True).error) == "not-provisioned"
    run("qemu-img", "compare", "-q", base, outer)


def test_a_base_in_the_middle_of_a_run_is_refused(bases: Path, base: Path, tmp_path: Path) -> None:
    raw = Path(shutil.copy(bases / "base.raw", tmp_path / "base.raw"))
    for image in (base, raw):
        run_on(image, dies_at="rewrite-partitions")
        for overlay in (True, False):
            with refused("run-stands-in-the-way"):
                made(image, tmp_path / "out.qcow2", overlay=overlay)
    assert not (tmp_path / "out.qcow2").exists()


def test_what_cannot_be_meant_is_refused_before_anything_is_made(
    base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ImageNotReadable):
        made(tmp_path / "missing.qcow2", tmp_path / "out.qcow2")
    with pytest.raises(UsageError, match="twice"):
        api.provision(
            base, [api.Output(tmp_path / "a"), api.Output(tmp_path / "sub/../a")], recipe()
        )
    # The second one's seed would take the first one's place.
    outputs = [api.Output(tmp_path / "a.qcow2"), api.Output(tmp_path / "a.raw")]
    with pytest.raises(UsageError, match=r"a-seed\.iso is named twice"):
        api.provision(base, outputs, recipe(seed=Seed()), force=True)
    for epoch in (-1, 1 << 32):
        with pytest.raises(UsageError, match="epoch"):
            made(base, tmp_path / "out.qcow2", reproducible=True, seed=Seed(), epoch=epoch)
    with pytest.raises(UsageError):
        made(base, tmp_path / "out.raw", overlay=True, format="raw")
    missing = made(base, tmp_path / "no/such/out.qcow2")
    assert error_id(missing.error) == "not-provisioned" and "mkdir -p" in missing.error.what_to_do
    smaller = made(base, tmp_path / "out.qcow2", size=SizeSpec(MiB, relative=False))
    assert smaller.error is not None and smaller.error.exit_code == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.qcow2"]


def test_one_that_fails_neither_stops_the_others_nor_leaves_anything(
    base: Path, tmp_path: Path
) -> None:
    (tmp_path / "b.qcow2").write_text("in the way")
    outputs = [api.Output(tmp_path / f"{name}.qcow2") for name in "abc"]
    report = api.provision(base, outputs, recipe(overlay=True), jobs=3)
    assert [output.result for output in report.outputs] == ["created", "failed", "created"]
    assert report.exit_code == 3 and report.changed
    assert hidden_files(tmp_path) == []


def test_a_call_that_is_stopped_finishes_nothing_more_and_leaves_nothing_half_done(
    base: Path, tmp_path: Path
) -> None:
    stop = StopRequest()

    class Impatient(Watcher):
        def output_ended(self, output: api.Provisioned) -> None:
            stop.request("SIGINT")

    outputs = [api.Output(tmp_path / f"{name}.qcow2") for name in "abc"]
    report = api.provision(base, outputs, recipe(), watcher=Impatient(), stop=stop)
    assert [output.result for output in report.outputs] == ["created", "failed", "failed"]
    assert isinstance(report.outputs[1].error, Interrupted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.qcow2", "base.qcow2"]


def test_a_stop_just_when_an_output_begins_is_heeded_and_nothing_of_it_is_left_to_be_called(
    base: Path, tmp_path: Path
) -> None:
    class JustAfter(StopRequest):
        def check(self) -> None:
            super().check()
            self.request("SIGTERM")

    outputs, stop = [api.Output(tmp_path / "a.qcow2")], JustAfter()
    (output,) = api.provision(base, outputs, recipe(), stop=stop).outputs
    assert isinstance(output.error, Interrupted)
    assert stop.callbacks == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.qcow2"]


def test_a_long_copy_can_be_stopped(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = StopRequest()
    monkeypatch.setattr(
        "growdisk.api.provisioning.work_image.create_overlay", _then(create_overlay, stop)
    )
    (output,) = api.provision(
        base, [api.Output(tmp_path / "a.raw")], recipe(size=None, format="raw"), stop=stop
    ).outputs
    assert isinstance(output.error, Interrupted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.qcow2"]


def _then(action: Callable[..., object], stop: StopRequest) -> Callable[..., object]:
    def done_and_stopped(*arguments: object) -> object:
        answer = action(*arguments)
        stop.request("SIGTERM")
        return answer

    return done_and_stopped


def test_an_overlay_names_its_base_from_where_it_lies(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guests").mkdir()
    assert made(Path("base.qcow2"), Path("guests/web.qcow2"), overlay=True).error is None
    info = json.loads(run("qemu-img", "info", "--output=json", tmp_path / "guests/web.qcow2"))
    assert info["backing-filename"] == "../base.qcow2"
    (tmp_path / "guests").rename(tmp_path / "moved")
    run("qemu-img", "check", "-q", tmp_path / "moved/web.qcow2")


def test_two_that_make_the_same_output_do_not_meet(base: Path, tmp_path: Path) -> None:
    inner: list[api.Provisioned] = []

    def finish(*arguments: object, **options: object) -> None:
        inner.append(made(base, tmp_path / "web.qcow2", overlay=True))
        put_in_place(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("growdisk.api.provisioning.work_image.put_in_place", finish)
        first = made(base, tmp_path / "web.qcow2", overlay=True)
    assert first.error is None and isinstance(inner[0].error, ImageInUse)
    assert hidden_files(tmp_path) == []


def test_what_a_killed_process_left_is_no_hindrance(base: Path, tmp_path: Path) -> None:
    for name in (".out.qcow2.growdisk-new", ".out.qcow2.growdisk-work"):
        (tmp_path / name).write_text("half an image")
        (tmp_path / f"{name}.growdisk").mkdir()
    assert made(base, tmp_path / "out.qcow2").error is None
    assert hidden_files(tmp_path) == []


def test_no_record_of_its_growth_is_left(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROWDISK_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    for out in (Path("near.qcow2"), tmp_path / "far.qcow2"):
        assert made(base, out).error is None
        assert list((tmp_path / "state/done").iterdir()) == []


@pytest.mark.parametrize(
    "changes", [{"size": SizeSpec(MiB, relative=False)}, {"partition": "9"}, {"partition": "2"}]
)
def test_a_refusal_names_the_base_and_no_hidden_file(
    base: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    error = made(base, tmp_path / "out.qcow2", **changes).error
    assert error is not None
    told = json.dumps(error_document(error))
    assert str(base) in told and "growdisk-new" not in told, told


def test_a_dry_run_writes_nothing(base: Path, tmp_path: Path) -> None:
    (output,) = api.provision(
        base, [api.Output(tmp_path / "out.qcow2")], recipe(), dry_run=True
    ).outputs
    assert output.result == "planned" and output.layout is not None
    assert output.layout.image.virtual_size == GiB and output.given_up
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.qcow2"]


def lain_on(base: Path) -> None:
    create_overlay(base, base.with_name("overlay.qcow2"))


def of_version_2_with_a_snapshot(base: Path) -> None:
    run("qemu-img", "amend", "-f", "qcow2", "-o", "compat=0.10", base)
    run("qemu-img", "snapshot", "-c", "before", base)


@pytest.mark.parametrize("change", [lain_on, of_version_2_with_a_snapshot])
def test_a_dry_run_plans_what_a_run_would_make_of_a_base_that_could_not_grow_itself(
    change: Callable[[Path], None], base: Path, tmp_path: Path
) -> None:
    change(base)
    dry, real = (
        api.provision(
            base, [api.Output(tmp_path / "out.raw")], recipe(format="raw"), dry_run=dry
        ).outputs[0]
        for dry in (True, False)
    )
    assert (dry.result, real.result) == ("planned", "created"), dry.error
    assert dry.layout is not None and real.layout is not None
    assert dry.layout.image.format == "raw" and not dry.layout.image.backing
    assert [(part.start, part.size) for part in dry.layout.partitions] == [
        (part.start, part.size) for part in real.layout.partitions
    ]


class held:  # noqa: N801  reads as what it does
    """The image open in qemu-io, as a guest has it (-r: to read)."""

    def __init__(self, image: Path, *options: str) -> None:
        self._command = ["qemu-io", *options, "-f", "qcow2", str(image)]

    def __enter__(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(b"length\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        self._process.communicate(b"quit\n", timeout=30)


def test_a_base_without_a_guest_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("growdisk.api.provisioning.build_output.WorkImage", None)
    base = tmp_path / "data.raw"
    base.write_bytes(bytes(4 * MiB))
    for prepare in (lambda: None, lambda: run("mkfs.ext4", "-q", base)):
        prepare()
        for dry_run in (True, False):
            found = api.provision(
                base, [api.Output(tmp_path / "out")], recipe(hostname="web"), dry_run=dry_run
            )
            assert error_id(found.failed[0].error) == "cannot-customize"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "kind",
    ["mkfs.f2fs", "cryptsetup luksFormat --batch-mode --iter-time 10 --key-file KEY", "ext4"],
)
def test_what_only_a_kernel_reads_may_be_a_guest(tmp_path: Path, kind: str) -> None:
    base, key = tmp_path / "base.raw", tmp_path / "key"
    base.write_bytes(bytes(64 * MiB))
    key.write_bytes(b"secret")
    if kind == "ext4":  # with what its journal alone knows
        run("mkfs.ext4", "-q", base)
        run("debugfs", "-w", "-R", "feature needs_recovery", base)
    else:
        run(*kind.replace("KEY", str(key)).split(), base)
    with closing(RawFile.open(base)) as device:
        refuse_without_guest(device, base, ())
