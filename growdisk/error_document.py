"""An error as `--json` shows it."""

from __future__ import annotations

from growdisk.errors import GrowdiskError, error_id


def error_document(error: GrowdiskError) -> dict[str, object]:
    """An error as --json shows it: `id` and `data` for programs, the texts for people."""
    return {
        "id": error_id(error),
        "what": error.what,
        "why": error.why,
        "do": error.what_to_do,
        "code": error.exit_code,
        "data": _data(error),
    }


def _data(error: GrowdiskError) -> dict[str, object]:
    """The facts of an error, as plain values."""
    # The hint is wording, and is in `do` already. GrowdiskError.named keeps its id and templates
    # beside the facts, in capitals, and names what is only wording with a leading underscore:
    # neither begins with a small letter.
    return {
        name: _plain(fact)
        for name, fact in vars(error).items()
        if name[0].islower() and name != "hint"
    }


def _plain(value: object) -> object:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)  # of a units.Bytes, which is words as a text
    return value if value is None or isinstance(value, (bool, float)) else str(value)
