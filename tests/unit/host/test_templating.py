"""What a few characters of a playbook may not ask for: texts of a hundred million characters."""

import tracemalloc
from collections.abc import Iterator

import pytest

from growdisk.host.templating import Failure, Sandbox, TooLarge

MANY = 100_000_000


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 32 << 20


@pytest.mark.parametrize(
    "expression",
    [
        "'x' * MANY", "MANY * 'x'", "[1] * MANY", "((10 ** 1000) ** 1000) ** 1000",
        "'x'.encode() * MANY", "'%MANYd' % 1",
        "'%-0MANYd' % 1", "'%.MANYf' % 1", "'%(a)MANYd' % {'a': 1}",
        "'%(a(b))MANYd' % {'a(b)': 1}", "'%*d' % (MANY, 1)", "'%*d' % (-MANY, 1)",
        "'%.*f' % (MANY, 1)", "'%MANYd'.encode() % 1", "('%1000000d' * 100) % ((1,) * 100)",
        "'%MANYd' | format(1)", "'%*d' | format(MANY, 1)", "['%MANYd'] | map('format', 1) | list",
        "'{:MANY}'.format(1)", "'{:.MANYf}'.format(1)", "'{:{}}'.format(1, MANY)",
        "'{a:MANY}'.format_map({'a': 1})", "('{0:1000000}' * 100).format(1)",
        "('{:MANY}' | attr('format'))(1)", "'{:MANY}'['format'](1)", "'x'.center(MANY)",
        "'x'.ljust(MANY)", "'x'.rjust(MANY)", "'x'.zfill(MANY)", "'\t'.expandtabs(MANY)",
        "'\t'.expandtabs(tabsize=MANY)", "('\t' * 10000).expandtabs(10000)",
        "(1).to_bytes(MANY, 'big')", "'x'.encode().center(MANY)", "('x' | e).center(MANY)",
        "('{:MANY}' | e).format(1)", "('%MANYd' | e) % 1", "'x' | center(MANY)",
        "'x' | center(width=MANY)", "'x\ny' | indent(MANY)", "('x\n' * 10000) | indent(10000)",
        "[1] | batch(MANY, 0) | list", "[1] | slice(MANY) | list", "[1] | tojson(MANY)",
        "{'a': 1} | tojson(indent=MANY)", "1 | round(MANY, 'ceil')",
        "['x'] | map('center', MANY) | list",
    ],
)  # fmt: skip
def test_no_number_makes_something_large(expression: str) -> None:
    with pytest.raises(TooLarge):
        Sandbox({}, {}).value(expression.replace("MANY", str(MANY)), {})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'%5d|%-3s|%.1f%%' % (MANY, 'a', 2)", "100000000|a  |2.0%"),
        ("'%(a)04d' % {'a': 7}", "0007"),
        ("'%*d' % (3, 1)", "  1"),
        ("'of MANY bytes (all) * 2: %d' % MANY", f"of {MANY} bytes (all) * 2: {MANY}"),
        ("'%s of %s' | format(MANY, 'a')", f"{MANY} of a"),
        ("'{:>5}|{}|{{}}|{a!r:4}'.format(1, MANY, a='b')", f"    1|{MANY}|{{}}|'b' "),
        ("'x'.center(3) ~ ('y' | center(3)) ~ '7'.zfill(2)", " x  y 07"),
        ("'a\nb' | indent(2)", "a\n  b"),
        ("[1, 2, 3] | batch(2, MANY) | list", [[1, 2], [3, MANY]]),
        ("[1, 2, 3] | slice(2) | list", [[1, 2], [3]]),
        ("1.26 | round(1) ~ (MANY | round)", f"1.3{MANY}"),
        ("{'a': MANY} | tojson", f'{{"a": {MANY}}}'),
        ("none | default(MANY, true)", MANY),
        ("7 % 4 + 2 ** 10 + 4 ** -1", 1027.25),
        ("'abc'.find('c', MANY)", -1),
    ],
)
def test_large_numbers_as_values_are_none_of_that(expression: str, value: object) -> None:
    assert Sandbox({}, {}).value(expression.replace("MANY", str(MANY)), {}) == value


def test_there_is_no_filler_text() -> None:
    with pytest.raises(Failure, match="lipsum"):
        Sandbox({}, {}).value("lipsum(100000)", {})
