"""provision: a ready image of a base image. What has no option of its own stands in a recipe."""

from __future__ import annotations

from typing import cast

from growdisk import api
from growdisk.api.provisioning.recipe import Output, Recipe, as_template
from growdisk.api.provisioning.result import provision_document
from growdisk.fast_dataclass import replace
from growdisk.playbook.options import Options
from growdisk.playbook.perform import TaskContext, TaskResult, failure, layout_lines
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import format_size, parse_goal_size


def _provision(options: Options, context: TaskContext) -> TaskResult:
    """An image that is there is left as it is: it may have been booted since."""
    base, dest = options.place("base"), options.place("dest")
    if dest.exists() and not options.flag("force"):
        return TaskResult.nothing(f"{dest} is there already")
    report = api.provision(
        base,
        [Output(dest)],
        _recipe(options),
        force=options.flag("force"),
        dry_run=context.check,
        stop=context.stop,
    )
    document = provision_document(report)
    # There is one output, so there is at most one failure.
    for made in report.failed:
        assert made.error is not None
        return failure(made.error, document)
    layout = report.outputs[0].layout
    assert layout is not None
    size = format_size(layout.image.virtual_size)
    message = f"{dest.name} would be made, {size}" if context.check else f"{dest.name}, {size}"
    return TaskResult(
        changed=True,
        message=f"{message}: {'; '.join(layout_lines(layout).splitlines()[1:])}",
        result=document,
    )


def _recipe(options: Options) -> Recipe:
    """A recipe file comes first, options go before it."""
    recipe, path = Recipe(), options.path("recipe")
    if path is not None:
        from growdisk.api.provisioning.recipe_file import load_recipe

        recipe = load_recipe(path).recipe
    if size := options.text("size"):
        recipe = replace(recipe, size=parse_goal_size(size))
    if options.text("format"):
        recipe = replace(recipe, format=cast("ImageFormat", options.text("format")))
    if hostname := options.text("hostname"):
        recipe = replace(recipe, hostname=as_template(hostname))
    return replace(recipe, overlay=True) if options.flag("overlay") else recipe


HANDLERS = {"provision": _provision}
