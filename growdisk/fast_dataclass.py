"""The one dataclass of growdisk: `dataclass`, `field`, `replace`, `asdict`, `NamedTuple`.

The standard library writes and compiles methods for each class: 0.3 to 0.7 ms a class, and 8 ms for
what it loads to do so. `growdisk image info` defines forty classes and has nothing else to do;
`growdisk expand` defines three hundred. Here the methods are closures. Type checkers are shown the
real ones. Others that ask a class for its fields (msgspec) get the real answer, made when it is
asked for.

What is left out: slots, InitVar, keyword-only fields, and an error at the definition for a default
before a field without one.
"""

from __future__ import annotations

import operator
from collections import namedtuple
from collections.abc import Callable

_FIELDS = "__value_fields__"
_MISSING = object()


class _Field:
    """What `field` says: a default, or its factory; whether it is shown, compared."""

    def __init__(
        self,
        *,
        default: object = _MISSING,
        default_factory: Callable[[], object] | None = None,
        repr: bool = True,
        compare: bool = True,
    ) -> None:
        self.default, self.make = default, default_factory
        self.repr, self.compare = repr, compare

    def value(self) -> object:
        return self.default if self.make is None else self.make()


def quick_dataclass(cls: type | None = None, **options: bool) -> type | Callable[[type], type]:
    """The decorator, with `frozen`, `eq` and `order`.

    Annotations of fields are strings, as in all modules here.
    """
    if cls is None:
        return lambda decorated: _define(decorated, **options)
    return _define(cls, **options)


quick_field = _Field


def quick_replace(value: object, /, **changes: object) -> object:
    """A copy with some fields changed."""
    return type(value)(
        **({name: getattr(value, name) for name in getattr(type(value), _FIELDS)} | changes)
    )


def quick_asdict(value: object) -> dict[str, object]:
    """The fields by name, and what lies in them as dicts and lists too; nothing else is copied."""
    fields = getattr(type(value), _FIELDS)
    return {name: plain(getattr(value, name)) for name in fields}


def plain(value: object) -> object:
    """`value` with dicts for the dataclasses in it and lists for the tuples."""
    if hasattr(type(value), _FIELDS):
        return quick_asdict(value)
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value


def _define(cls: type, *, frozen: bool = False, eq: bool = True, order: bool = False) -> type:
    # `special`: fields that are written with field(). The others have a plain default, or none.
    fields = _fields(cls)
    special = {name: given for name, given in fields.items() if isinstance(given, _Field)}
    _without_specials(cls, special)
    shown = tuple(name for name in fields if name not in special or special[name].repr)
    compared = tuple(name for name in fields if name not in special or special[name].compare)
    methods: dict[str, object] = {
        _FIELDS: fields,
        "__match_args__": tuple(fields),
        "__init__": _init(cls, fields),
        # For _MadeOnAccess, which makes the same class by the standard library.
        "__value_options__": {"frozen": frozen, "eq": eq, "order": order},
        "__dataclass_fields__": _MadeOnAccess("__dataclass_fields__"),
        "__dataclass_params__": _MadeOnAccess("__dataclass_params__"),
        **_comparing(cls, compared, frozen=frozen, eq=eq, order=order),
    }
    # What the class itself defines stays, here and for __eq__; what it inherits does not.
    if "__repr__" not in cls.__dict__:
        methods["__repr__"] = _repr(shown)
    if frozen:
        methods["__setattr__"] = methods["__delattr__"] = _refuse
    for name, method in methods.items():
        setattr(cls, name, method)
    return cls


def _fields(cls: type) -> dict[str, object]:
    """The fields in order, the bases' first, with their defaults: a value, or a _Field."""
    fields: dict[str, object] = {}
    # A base that is a dataclass has its own bases' fields in it already; a field that is said again
    # keeps its place and gets the new default.
    for base in reversed(cls.__mro__[1:]):
        fields.update(base.__dict__.get(_FIELDS, ()))
    for name, annotation in cls.__dict__.get("__annotations__", {}).items():  # noqa: RUF063  inspect is what is slow
        # A text, as every module has `from __future__ import annotations`.
        if not annotation.startswith("ClassVar"):
            fields[name] = cls.__dict__.get(name, _MISSING)
    return fields


def _without_specials(cls: type, special: dict[str, _Field]) -> None:
    """The class itself has a field's default, as every class has; never the _Field."""
    for name, given in special.items():
        # Not for a field of a base: that is an attribute of the base, which is settled already.
        if cls.__dict__.get(name) is given:
            if given.default is _MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, given.default)


def _init(cls: type, fields: dict[str, object]) -> Callable[..., None]:
    finish = getattr(cls, "__post_init__", None)

    def __init__(self: object, *given: object, **named: object) -> None:  # noqa: N807  it becomes the class's own
        # Not by setattr, which a frozen class refuses.
        state = self.__dict__
        state.update(zip(fields, given))  # noqa: B905  fewer may be given, and the length is looked at below
        if named or len(given) != len(fields):
            state.update(named)
            # Fewer names than values: one was given twice, or zip() above dropped what is too much.
            if len(given) + len(named) > len(state) or not state.keys() <= fields.keys():
                raise TypeError(f"{cls.__name__}() takes {', '.join(fields)}, each once")
            for name, other in fields.items():
                if name not in state:
                    state[name] = _default(cls, name, other)
        if finish is not None:
            finish(self)

    return __init__


def _default(cls: type, name: str, given: object) -> object:
    value = given.value() if isinstance(given, _Field) else given
    if value is _MISSING:
        raise TypeError(f"{cls.__name__}() needs {name}")
    return value


def _repr(names: tuple[str, ...]) -> Callable[[object], str]:
    def shown(self: object) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({values})"

    return shown


def _comparing(
    cls: type, names: tuple[str, ...], *, frozen: bool, eq: bool, order: bool
) -> dict[str, object]:
    # Of one name it gives the value itself, of several a tuple: both compare and hash alike.
    found = operator.attrgetter(*names) if names else (lambda value: ())
    methods: dict[str, object] = {}
    if eq and "__eq__" not in cls.__dict__:
        methods["__eq__"] = _compared(operator.eq, found)
        # None is how Python says that a class cannot be hashed: these values can change.
        methods["__hash__"] = (lambda self: hash(found(self))) if frozen else None
    if order:
        methods |= {
            f"__{name}__": _compared(getattr(operator, name), found)
            for name in ("lt", "le", "gt", "ge")
        }
    return methods


def _compared(
    relation: Callable[[object, object], bool], found: Callable[[object], object]
) -> object:
    return lambda self, other: (
        relation(found(self), found(other)) if type(other) is type(self) else NotImplemented
    )


def _refuse(self: object, name: str, *_: object) -> None:
    raise AttributeError(f"cannot change {name}: a {type(self).__name__} is frozen")


class _QuickTuple(type):
    """Makes a named tuple of a class body, as typing does, which takes 2 ms to load."""

    def __new__(cls, name: str, _: tuple[type, ...], body: dict[str, object]) -> type:
        # This is called for `class X(NamedTuple)`, as its metaclass, and gives no class of ours but
        # what namedtuple() makes.
        names: tuple[str, ...] = tuple(body.get("__annotations__", ()))  # type: ignore[arg-type]
        made = namedtuple(name, names, defaults=[body[name] for name in names if name in body])  # type: ignore[misc]
        for key, value in body.items():
            if key not in (*names, "__qualname__", "__annotations__"):
                setattr(made, key, value)
        return made


class _MadeOnAccess:
    """What the standard library puts into a dataclass, made when somebody asks for it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, _: object, owner: type) -> object:
        import dataclasses

        # `owner` may be a subclass that is not a dataclass: the nearest base that is one counts.
        cls = next(base for base in owner.__mro__ if _FIELDS in base.__dict__)
        fields: dict[str, object] = cls.__dict__[_FIELDS]
        texts: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            texts.update(base.__dict__.get("__annotations__", {}))  # noqa: RUF063
        # The twin has no bases, so it gets the inherited fields as its own, in the same order.
        body: dict[str, object] = {
            "__module__": cls.__module__,
            "__annotations__": {name: texts[name] for name in fields},
        }
        body |= {name: _real(given) for name, given in fields.items() if given is not _MISSING}
        options: dict[str, bool] = cls.__dict__["__value_options__"]
        twin: type = dataclasses.dataclass(**options)(type(cls.__name__, (), body))
        # In place of this descriptor: the next access finds the real ones at once.
        for name in ("__dataclass_fields__", "__dataclass_params__"):
            setattr(cls, name, getattr(twin, name))
        return cls.__dict__[self._name]


def _real(given: object) -> object:
    """A default as the standard library writes it."""
    import dataclasses

    if not isinstance(given, _Field):
        return given
    options: dict[str, object] = {"repr": given.repr, "compare": given.compare}
    if given.make is not None:
        options["default_factory"] = given.make
    elif given.default is not _MISSING:
        options["default"] = given.default
    return dataclasses.field(**options)  # type: ignore[call-overload]


TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from dataclasses import asdict as asdict
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
    from typing import NamedTuple as NamedTuple
else:
    # Not _QuickTuple(...): its __new__ would make this class itself a tuple without fields.
    NamedTuple = type.__new__(_QuickTuple, "NamedTuple", (), {})
    dataclass, field = quick_dataclass, quick_field
    asdict, replace = quick_asdict, quick_replace
