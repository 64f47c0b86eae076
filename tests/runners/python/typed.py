"""The JSON form of the vectors as the package's types, and back."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from typing import Any

from smtp_fallback import OtherNote, Refuse, Verified

CASES: dict[type, tuple[str, str]] = {Verified: ("verified", "names"), Refuse: ("refuse", "reply"), OtherNote: ("other", "word")}
"""The classes for cases of variants that have a value: the word, and the field."""


def typed(value: Any, hint: Any) -> Any:
    """This JSON as a value of this type; a field that the type does not have is an error."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return of_union(value, typing.get_args(hint))
    if typing.get_origin(hint) is not None:
        return [typed(item, typing.get_args(hint)[0]) for item in value]
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = fields(hint)
        unknown = set(value) - set(hints)
        if unknown:
            raise ValueError(f"{hint} has no field {unknown}")
        return typing.cast(Any, hint)(**{hints[name][0]: typed(each, hints[name][1]) for name, each in value.items()})
    if hint is bytes:
        return bytes(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint(value)
    return value


def of_union(value: Any, hints: tuple[Any, ...]) -> Any:
    if value is None and type(None) in hints:
        return None
    for hint in hints:
        if hint in CASES and isinstance(value, dict):
            word, field = CASES[hint]
            return hint(typed(value[word], typing.get_type_hints(hint)[field]))
    return typed(value, hints[0])


@cache
def fields(hint: type) -> dict[str, tuple[str, Any]]:
    return {name.replace("_", "-"): (name, each) for name, each in typing.get_type_hints(hint).items()}


def plain(value: Any) -> Any:
    """This value as JSON, without what is absent."""
    if type(value) in CASES:
        word, field = CASES[type(value)]
        return {word: plain(getattr(value, field))}
    if dataclasses.is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name.replace("_", "-"): plain(each) for name, each in parts.items() if each is not None}
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, str) or not isinstance(value, Sequence):
        return value
    return [plain(each) for each in value]


def without_nulls(value: Any) -> Any:
    """Absent is null or missing."""
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value
