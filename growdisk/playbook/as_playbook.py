"""A plan as the playbook that does it: a task a step, with everything that the plan decided.

`growdisk plan … --as-playbook` prints it. Each of its tasks is a run of one step of the same
engine. What the plan knew of swap that is gone is in it, so that it can be read, changed, and
run here or by Ansible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from growdisk.api.runs import plan
from growdisk.fast_dataclass import asdict
from growdisk.host.yaml_reader import as_yaml
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.planner import propose
from growdisk.planner.proposal import GoalReached, Proposal
from growdisk.planner.what_grows import choose_partition, is_whole_disk
from growdisk.playbook.keywords import ON_FAILURE
from growdisk.playbook.specs import NAMESPACE
from growdisk.playbook.tasks.steps import partition_result
from growdisk.qcow2.probe import ImageFormat
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.grow_layers import GrowLogicalVolume, GrowLuks, GrowPhysicalVolume
from growdisk.steps.guest_steps import MakeSwapFile, RemakeSwap, RepairGuest
from growdisk.steps.registry import DiskStep
from growdisk.steps.resize_image import ResizeImage
from growdisk.steps.step_traits import of_kind
from growdisk.steps.table_steps import RereadPartitions, RewritePartitions

_Words = dict[str, object]
_IMAGE = "{{ image }}"


def playbook_of(
    path: Path,
    goal: Goal,
    options: RunOptions,
    image_format: ImageFormat | None,
    given: Mapping[str, object],
) -> str:
    """The playbook as text; `given`: what was asked, as options of a task.

    Raises what `plan` raises.
    """
    found: list[tuple[Facts, Proposal | GoalReached]] = []

    def watched(facts: Facts, wanted: Goal) -> Proposal | GoalReached:
        proposal = propose(facts, wanted)
        found.append((facts, proposal))
        return proposal

    plan(path, goal, options, image_format, watched)
    # plan() asks twice if the guest's files forbid to give swap up: the last proposal counts.
    facts, proposal = found[-1]
    if isinstance(proposal, GoalReached):
        title = "Grow into unused space (there was none when this was planned)"
        if goal.rule is not None:
            title = "Grow by the rule (it asked for nothing when this was planned)"
        tasks = [_task("expand", title, {**given, "image": _IMAGE})]
    else:
        tasks = list(_Writer(facts, goal, given).tasks(proposal.steps))
    on_failure = "none" if options.snapshots == "none" else "play"
    return _play(path.name, tasks, {"image": str(path.resolve()), ON_FAILURE: on_failure})


def running_playbook(title: str, options: _Words) -> str:
    """For a guest that runs: its steps hang together, and are one task."""
    return _play(title, [_task("expand_online", f"Grow {title} while it runs", options)])


def _play(title: str, tasks: Sequence[_Words], variables: _Words | None = None) -> str:
    play: _Words = {
        "name": f"Grow {title}",
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        **_known(vars=variables),
        "tasks": list(tasks),
    }
    return as_yaml([play])


class _Writer:
    """Tasks for the steps of one proposal."""

    def __init__(self, facts: Facts, goal: Goal, given: Mapping[str, object]) -> None:
        self._facts, self._goal, self._given = facts, goal, given
        self._moves_swap = False
        self._common: _Words = {"image": _IMAGE, **self._asked("format")}
        self._sectors, self._keys = self._asked("sector_size"), self._asked("key_file")
        self._way = self._asked("snapshots", "overlays_may_break", "not_in_use")

    def _asked(self, *names: str) -> _Words:
        return {name: self._given[name] for name in names if name in self._given}

    def tasks(self, steps: Sequence[DiskStep]) -> Iterator[_Words]:
        grown: set[int] = set()
        self._moves_swap = bool(of_kind(RemakeSwap, steps))
        for step in steps:
            match step:
                case ResizeImage():
                    yield from self._resize(step)
                case RewritePartitions():
                    yield from self._rewrite(step)
                case RereadPartitions():
                    yield self._task("reread_partitions", step, self._sectors)
                case GrowFilesystem() | GrowLuks() | GrowPhysicalVolume() | GrowLogicalVolume():
                    # One task grows all layers of a partition; its title is its first step's.
                    if step.partition not in grown:
                        yield self._grow(step.partition, step)
                    grown.add(step.partition)
                case _:
                    yield self._for_swap(step)

    def _resize(self, step: ResizeImage) -> Iterator[_Words]:
        # The step is in each plan, also if the size stays.
        if step.new_size != step.old_size:
            more = {"preallocation": step.preallocation} if step.preallocation != "off" else {}
            # The size that it comes to: with +10G a playbook that is run twice would grow it twice.
            size = {"size": f"{step.new_size}b"}
            options = {**self._common, **size, **more, **self._way}
            yield _task("resize_image", step.describe(), options)

    def _rewrite(self, step: RewritePartitions) -> Iterator[_Words]:
        if step.before == step.after:
            return
        grown = {"grow": self._sizes(step)} if self._goal.grow else _partition(self._target())
        requests: _Words = {**grown}
        # The planner itself chose to move swap: the task must not drop it, as it would by default.
        if self._moves_swap:
            requests["swap"] = "move"
        requests |= self._asked("swap", "move", "delete", "to_gpt", "guest_repair")
        yield self._task("rewrite_partitions", step, {**requests, **self._sectors, **self._keys})

    def _grow(self, number: int, step: DiskStep) -> _Words:
        volumes = self._asked("lv", "lv_share")
        own = {**_partition(number), **volumes, **self._sectors, **self._keys}
        return self._task("grow_filesystem", step, own)

    def _for_swap(self, step: DiskStep) -> _Words:
        # What has to be opened on the way to the guest's root: LUKS, LVM.
        inside = {**_partition(self._target()), **self._sectors, **self._keys}
        match step:
            case RemakeSwap():
                swaps = [_known(**asdict(space)) for space in step.swaps]
                return self._task("remake_swap", step, {"swaps": swaps})
            case MakeSwapFile():
                own = {"system": step.system, "size": f"{step.size}b", **_known(uuid=step.uuid)}
                return self._task("make_swap_file", step, {**own, **inside})
            case RepairGuest():
                gone = [partition_result(part) for part in (*step.swaps, *step.gone)]
                others = _known(others=list(step.others))
                own = {"system": step.system, **others, "swap": step.policy.value, "swaps": gone}
                return self._task("repair_guest", step, {**own, **inside})
        raise AssertionError(step)

    def _sizes(self, step: RewritePartitions) -> list[str]:
        """What shares come to: a share of what is left would be more with each run."""
        parts = [choose_partition(self._facts, request.partition)[1] for request in self._goal.grow]
        grown = [new for part in parts if (new := step.after.by_number(part.number)) is not None]
        # --grow calls the disk sda, whatever the guest calls it.
        return [f"sda{part.number}={part.size}b" for part in grown]

    def _target(self) -> int:
        """The partition that grows, or that the guest's own files are in."""
        if is_whole_disk(self._facts):
            return 0
        wanted = self._goal.grow[0].partition if self._goal.grow else self._goal.partition
        return choose_partition(self._facts, wanted)[1].number

    def _task(self, name: str, step: DiskStep, options: _Words) -> _Words:
        return _task(
            name,
            step.describe(),
            {**self._common, **options, **self._asked("backend"), **self._way},
        )


def _task(name: str, title: str, options: _Words) -> _Words:
    return {"name": title[:1].upper() + title[1:], f"{NAMESPACE}.{name}": options}


def _partition(number: int) -> _Words:
    return _known(partition=str(number or ""))


def _known(**words: object) -> _Words:
    """Without those that are empty."""
    return {name: word for name, word in words.items() if word}
