"""A callback of Ansible that writes each task's result as a line of JSON to the file in RECORDS."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: records
type: notification
short_description: each result as a line of JSON
description: For tests.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "records"

    def _write(self, result, state: str) -> None:
        record = {
            "host": result._host.get_name(), "task": result._task.get_name(),
            "action": result._task.action,
            "state": state, "result": result._result,
        }  # fmt: skip
        with Path(os.environ["RECORDS"]).open("a") as file:
            file.write(json.dumps(record, default=str) + "\n")

    def v2_runner_on_ok(self, result) -> None:
        self._write(result, "changed" if result.is_changed() else "ok")

    def v2_runner_on_failed(self, result, ignore_errors: bool = False) -> None:
        self._write(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_skipped(self, result) -> None:
        self._write(result, "skipped")

    def v2_runner_on_unreachable(self, result) -> None:
        self._write(result, "unreachable")
