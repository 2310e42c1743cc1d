"""The quick dataclasses against the standard library's, on the same class bodies."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from growdisk import fast_dataclass

Decorator = Callable[..., Callable[[type], type]]
BOTH: tuple[Decorator, Decorator] = (fast_dataclass.quick_dataclass, dataclasses.dataclass)  # type: ignore[assignment]


def point(decorator: Decorator) -> type:
    class Point:
        KIND: ClassVar[str] = "point"
        x: int
        y: int = 2
        label: str = ""

        @property
        def sum(self) -> int:
            return self.x + self.y

    Point.__qualname__ = "Point"
    return decorator(frozen=True, order=True)(Point)


@pytest.mark.parametrize(
    "given",
    [((1,), {}), ((1, 5), {}), ((), {"x": 3}), ((1, 2, "a"), {}), ((1,), {"label": "b"})],
    ids=str,
)
def test_instances_are_made_shown_compared_and_hashed_alike(
    given: tuple[tuple[object, ...], dict[str, object]],
):
    ours, theirs = (point(decorator)(*given[0], **given[1]) for decorator in BOTH)
    assert repr(ours) == repr(theirs)
    assert vars(ours) == vars(theirs)
    assert hash(ours) == hash(theirs)
    assert ours.sum == theirs.sum
    assert type(ours).__match_args__ == type(theirs).__match_args__


@pytest.mark.parametrize(
    "given",
    [
        ((), {}),
        ((1, 2, "a", 4), {}),
        ((1,), {"x": 1}),
        ((1,), {"z": 1}),
        ((), {"y": 1}),
        ((1, 2, "a"), {"z": 1}),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_alike(given: tuple[tuple[object, ...], dict[str, object]]):
    for decorator in BOTH:
        with pytest.raises(TypeError):
            point(decorator)(*given[0], **given[1])


def test_equality_is_of_one_class_only_and_order_by_fields():
    first, second = point(fast_dataclass.quick_dataclass), point(fast_dataclass.quick_dataclass)
    assert first(1) == first(1) != first(2)
    assert first(1) != second(1)
    assert first(1) < first(2) <= first(2, 2)
    assert first(2) > first(1) >= first(1)


def test_a_frozen_one_cannot_be_changed():
    value = point(fast_dataclass.quick_dataclass)(1)
    with pytest.raises(AttributeError):
        value.x = 2
    with pytest.raises(AttributeError):
        del value.x
    assert value.x == 1


def test_defaults_from_factories_are_not_shared():
    @fast_dataclass.dataclass
    class Box:
        things: list[int] = fast_dataclass.field(default_factory=list)

    one, other = Box(), Box()
    one.things.append(1)
    assert other.things == []
    with pytest.raises(TypeError):
        hash(one)


@pytest.mark.parametrize("below", BOTH, ids=["quick", "standard"])
def test_fields_are_inherited_by_errors_and_by_the_standard_librarys_dataclasses(below: Decorator):
    @fast_dataclass.dataclass(eq=False)
    class Base(Exception):
        path: str
        hint: str = "none"

    class Derived(Base):
        reason: str = "because"

    derived = below(eq=False)(Derived)
    error = derived("p", reason="r")
    assert (error.path, error.hint, error.reason) == ("p", "none", "r")
    assert {error: 1}[error] == 1  # by identity
    with pytest.raises(Base):
        raise error


def test_who_asks_for_the_fields_gets_them():
    kind = point(fast_dataclass.quick_dataclass)
    value = kind(1, label="a")
    assert dataclasses.asdict(value) == {"x": 1, "y": 2, "label": "a"}
    assert [field.name for field in dataclasses.fields(kind)] == ["x", "y", "label"]
    assert (
        dataclasses.replace(value, x=7)
        == fast_dataclass.quick_replace(value, x=7)
        == kind(7, 2, "a")
    )
    assert msgspec.json.encode(value) == b'{"x":1,"y":2,"label":"a"}'


def secret(decorator: Decorator, field: Callable[..., object]) -> type:
    class Secret:
        name: str
        key: bytes = field(default=b"", repr=False)  # type: ignore[assignment]
        seen: list[int] = field(default_factory=list, compare=False)  # type: ignore[assignment]

    Secret.__qualname__ = "Secret"
    return decorator(frozen=True)(Secret)


def test_a_field_may_be_hidden_or_not_compared():
    ours, theirs = secret(BOTH[0], fast_dataclass.quick_field), secret(BOTH[1], dataclasses.field)
    for kind in (ours, theirs):
        value = kind("a", b"k", [1])
        assert repr(value) == "Secret(name='a', seen=[1])"
        assert value == kind("a", b"k", [2]) != kind("a", b"other", [1])
        assert hash(value) == hash(kind("a", b"k", []))
        assert (kind("a").key, kind.key) == (b"", b"")
        assert not hasattr(kind, "seen")
        assert kind.__match_args__ == ("name", "key", "seen")
    seen = [
        [(f.name, f.repr, f.compare) for f in dataclasses.fields(kind)] for kind in (ours, theirs)
    ]
    assert seen[0] == seen[1]


def test_post_init_runs_and_may_add_to_a_frozen_value():
    @fast_dataclass.dataclass(frozen=True)
    class Square:
        side: int

        def __post_init__(self) -> None:
            object.__setattr__(self, "area", self.side**2)

    assert Square(3).area == 9  # type: ignore[attr-defined]
    assert fast_dataclass.replace(Square(3), side=4).area == 16  # type: ignore[attr-defined]


def test_defining_a_class_loads_no_dataclasses():
    code = (
        "import sys; from growdisk import fast_dataclass as values\nclass A: __annotations__ = "
        "{'x': 'int'}\n"
        "values.dataclass(frozen=True)(A); print(A(1), 'dataclasses' in sys.modules, 'inspect' in "
        "sys.modules)"
    )
    root = Path(fast_dataclass.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "A(x=1) False False\n"
