"""Values as JSON and back, where foreign bytes are in them."""

from __future__ import annotations

import json

import pytest

from growdisk.host.json_codec import NotThatValue, decoded, encoded, encoded_lines

NAMES = {"path": "caf\udce9.qcow2", "ü": "\udcff"}


@pytest.mark.parametrize("written", [encoded(NAMES), encoded_lines(NAMES)])
def test_a_name_that_is_not_utf_8_comes_back_and_is_json_for_others(written: bytes) -> None:
    assert decoded(written, dict[str, str]) == NAMES
    assert json.loads(written) == NAMES


def test_a_lone_surrogate_excuses_nothing_else() -> None:
    for text in (b'{"a":"\\udce9",}', b'{"a":1,"b":"\\udce9"}', b'{"a":NaN}'):
        with pytest.raises(NotThatValue):
            decoded(text, dict[str, str])
