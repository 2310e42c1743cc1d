"""growdisk watch: one round by rules, for a timer."""

from __future__ import annotations

import argparse

from growdisk.api.watching.actions import Action
from growdisk.api.watching.round import Round, round_document, watch_once, write_metrics
from growdisk.api.watching.rules import load_rules
from growdisk.cli.common_options import add_flag, add_jobs, add_value, named_path
from growdisk.cli.config import is_typed
from growdisk.cli.declaring import declare, help_of
from growdisk.cli.output import CommandOutput, printable
from growdisk.errors import Refused
from growdisk.given_file import refuse_to_replace
from growdisk.planner.option_table import WATCHING
from growdisk.workflow.stopping import SignalsStop, StopRequest


def watch_arguments(parser: argparse.ArgumentParser) -> None:
    add_value(parser, "rules", "RULES.yml", help_of(WATCHING["rules"]), type=named_path)
    add_flag(parser, "-n --dry-run", "say what would be done, and do nothing")
    declare(parser, WATCHING["connect"], "-c", metavar="URI")
    declare(parser, WATCHING["metrics"], type=named_path, metavar="FILE", more="NAME.prom")
    add_jobs(parser, "so many guests at once (default: 4)", 4)


def run_watch(arguments: argparse.Namespace, output: CommandOutput) -> int:
    def show(action: Action) -> None:
        if action.result != "nothing" or arguments.verbose:
            output.lines([printable(f"{action.entry.name}: {action.result}: {action.detail}")])

    if arguments.metrics:
        refuse_to_replace(arguments.metrics, "--metrics")
    rules = load_rules(arguments.rules)
    ended = watch_once(
        rules,
        arguments.connect if is_typed(arguments, "connect") else rules.connect or arguments.connect,
        show,
        dry_run=arguments.dry_run,
        jobs=arguments.jobs,
        # Not entered here: it starts a thread, and watch_once forks processes first.
        stopping=SignalsStop(StopRequest()),
    )
    output.lines([_summary(ended)])
    if arguments.metrics and not arguments.dry_run:
        try:
            write_metrics(arguments.metrics, ended)
        except Refused as error:
            # The worse exit code wins: a guest that needs a person (5) matters more than a file of
            # metrics that was refused (3).
            if ended.code <= error.exit_code:
                raise
            output.error(error)
    output.document(round_document(ended))
    return ended.code


def _summary(ended: Round) -> str:
    results = [action.result for action in ended.actions]
    counts = ", ".join(f"{results.count(word)} {word}" for word in dict.fromkeys(results))
    return (
        f"{len(results)} disk{'' if len(results) == 1 else 's'} in {ended.seconds:.1f} s: "
        f"{counts or 'no image and no machine is there that the rules are for'}"
    )
