"""Classes that are quick to define: `dataclass`, `field`, `replace`, `NamedTuple` as the standard library has them.

The standard library writes and compiles methods for each class: 0.3 ms a class, and 8 ms for what it loads to do so.
`growdisk image info` defines forty classes and has nothing else to do. Here the methods are closures. Type checkers are
shown the real ones; whoever asks a class for its fields (asdict, msgspec, a dataclass below it) gets the real answer.
"""

from __future__ import annotations

import operator
from collections import namedtuple
from collections.abc import Callable

_NAMES = "__value_names__"
_MISSING = object()


class _Factory:
    """A default that is made anew for each instance."""

    def __init__(self, make: Callable[[], object]) -> None:
        self.make = make


def quick_dataclass(cls: type | None = None, **options: bool) -> type | Callable[[type], type]:
    """The decorator, with `frozen`, `eq` and `order`. Annotations of fields are strings, as in all modules here."""
    return (lambda decorated: _define(decorated, **options)) if cls is None else _define(cls, **options)


def quick_field(*, default_factory: Callable[[], object]) -> object:
    return _Factory(default_factory)


def quick_replace(value: object, /, **changes: object) -> object:
    """A copy with some fields changed."""
    names = getattr(type(value), _NAMES)
    return type(value)(**({name: getattr(value, name) for name in names} | changes))


def _define(cls: type, *, frozen: bool = False, eq: bool = True, order: bool = False) -> type:
    names, defaults = _fields(cls)
    found = operator.attrgetter(*names) if names else (lambda value: ())
    methods: dict[str, object] = {
        _NAMES: names, "__match_args__": names, "__init__": _init(cls, names, defaults),
        "__value_options__": {"frozen": frozen, "eq": eq, "order": order},
        "__dataclass_fields__": _Asked("__dataclass_fields__"), "__dataclass_params__": _Asked("__dataclass_params__"),
    }  # fmt: skip
    if "__repr__" not in cls.__dict__:
        methods["__repr__"] = _repr(names)
    if eq and "__eq__" not in cls.__dict__:
        methods["__eq__"] = _compared(operator.eq, found)
        methods["__hash__"] = (lambda self: hash(found(self))) if frozen else None
    if order:
        methods |= {f"__{name}__": _compared(getattr(operator, name), found) for name in ("lt", "le", "gt", "ge")}
    if frozen:
        methods["__setattr__"] = methods["__delattr__"] = _refuse
    for name, method in methods.items():
        setattr(cls, name, method)
    return cls


def _fields(cls: type) -> tuple[tuple[str, ...], dict[str, object]]:
    """The names in order, those of the bases first, and what those have that need not be given."""
    names: dict[str, None] = {}
    defaults: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        if base is not cls and _NAMES not in base.__dict__:
            continue
        for name, annotation in base.__dict__.get("__annotations__", {}).items():  # noqa: RUF063  inspect is what is slow
            if annotation.startswith("ClassVar"):
                continue
            names[name] = None
            default = base.__dict__.get(name, _MISSING)
            if default is not _MISSING:
                defaults[name] = default
    return tuple(names), defaults


def _init(cls: type, names: tuple[str, ...], defaults: dict[str, object]) -> Callable[..., None]:
    count, finish = len(names), getattr(cls, "__post_init__", None)

    def __init__(self: object, *given: object, **named: object) -> None:  # noqa: N807  it becomes the class's own
        state = self.__dict__
        state.update(zip(names, given))  # noqa: B905  fewer may be given, and the length is looked at below
        if named or len(given) != count:
            state.update(named)
            if len(given) + len(named) > len(state) or not state.keys() <= set(names):
                raise TypeError(f"{cls.__name__}() takes {', '.join(names)}, each once")
            for name in names:
                if name not in state:
                    state[name] = _default(cls, name, defaults)
        if finish is not None:
            finish(self)

    return __init__


def _default(cls: type, name: str, defaults: dict[str, object]) -> object:
    if name not in defaults:
        raise TypeError(f"{cls.__name__}() needs {name}")
    default = defaults[name]
    return default.make() if isinstance(default, _Factory) else default


def _repr(names: tuple[str, ...]) -> Callable[[object], str]:
    return lambda self: f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


def _compared(relation: Callable[[object, object], bool], found: Callable[[object], object]) -> object:
    return lambda self, other: relation(found(self), found(other)) if type(other) is type(self) else NotImplemented


def _refuse(self: object, name: str, *_: object) -> None:
    raise AttributeError(f"cannot change {name}: a {type(self).__name__} is frozen")


class _QuickTuple(type):
    """Makes a named tuple of a class body, as typing does, which takes 2 ms to load."""

    def __new__(cls, name: str, _: tuple[type, ...], body: dict[str, object]) -> type:
        names: tuple[str, ...] = tuple(body.get("__annotations__", ()))  # type: ignore[arg-type]
        made = namedtuple(name, names, defaults=[body[name] for name in names if name in body])  # type: ignore[misc]
        for key, value in body.items():
            if key not in (*names, "__qualname__", "__annotations__"):
                setattr(made, key, value)
        return made


class _Asked:
    """What the standard library puts into a dataclass, made when somebody asks for it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, _: object, asked: type) -> object:
        import dataclasses

        cls = next(base for base in asked.__mro__ if _NAMES in base.__dict__)
        names, defaults = _fields(cls)
        annotations: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            own = base.__dict__.get("__annotations__", {})  # noqa: RUF063
            annotations.update({name: text for name, text in own.items() if name in names})
        body: dict[str, object] = {"__module__": cls.__module__, "__annotations__": annotations}
        for name, default in defaults.items():
            body[name] = dataclasses.field(default_factory=default.make) if isinstance(default, _Factory) else default
        options: dict[str, bool] = cls.__dict__["__value_options__"]
        twin: type = dataclasses.dataclass(**options)(type(cls.__name__, (), body))
        for name in ("__dataclass_fields__", "__dataclass_params__"):
            setattr(cls, name, getattr(twin, name))
        return cls.__dict__[self._name]


TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
    from typing import NamedTuple as NamedTuple
else:
    NamedTuple = type.__new__(_QuickTuple, "NamedTuple", (), {})
    dataclass, field, replace = quick_dataclass, quick_field, quick_replace
