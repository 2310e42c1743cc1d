"""What a recipe's texts may go wrong by: an error with a hint, whatever Python calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.api.provisioning.recipe import Seed
from growdisk.api.provisioning.seeding import seed_files
from growdisk.api.provisioning.templates import render
from growdisk.errors import UsageError

VALUES = {"name": "web-1", "n": "1", "hostname": "web-1"}


@pytest.mark.parametrize(
    "expression",
    [
        "nowhere", "1 // 0", "name + 1", "'{other}'.format()", "'{1}'.format(1)",
        "name.encode('no such coding')", "'b'.index('a')",
    ],
)  # fmt: skip
def test_an_expression_that_fails_is_an_error_of_the_recipe(expression: str) -> None:
    with pytest.raises(UsageError) as refused:
        render("{{ " + expression + " }}", VALUES, "the hostname")
    assert refused.value.what == "cannot fill in the hostname"
    assert "hostname, n, name" in refused.value.what_to_do


@pytest.mark.parametrize("kind", ["user_data", "meta_data", "network_config"])
def test_a_file_of_a_seed_that_is_not_text_is_refused(kind: str, tmp_path: Path) -> None:
    (given := tmp_path / "given").write_bytes(b"#cloud-config\n# caf\xe9\n")
    with pytest.raises(UsageError) as refused:
        seed_files(Seed(**{kind: given}), VALUES, reproducible=True)
    assert refused.value.what == f"the template {given} is not UTF-8"
