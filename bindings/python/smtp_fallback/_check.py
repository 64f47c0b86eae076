"""Says what is wrong with an argument: asked only after a call has failed, so it may take its time."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from typing import Any

from . import contract
from ._json import BITS

ARGUMENTS = {
    "connection": contract.Connection,
    "envelope": contract.Envelope | None,
    "message": contract.Message | None,
    "auth_results": contract.AuthResults | None,
}
"""The arguments of `keys`, `decide` and `explain`, with their types."""


def mistake(arguments: dict[str, Any]) -> str | None:
    """The first mistake in these arguments, with its place; None where each value is of its type."""
    for name, value in arguments.items():
        if (found := _mistake(value, ARGUMENTS[name], name, 64)) is not None:
            return found
    return None


def _mistake(value: Any, hint: Any, place: str, bits: int) -> str | None:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _of_union(value, typing.get_args(hint), place, bits)
    if origin is Sequence or origin is not None and issubclass(origin, Sequence):
        return _of_list(value, typing.get_args(hint)[0], place)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _of_record(value, hint, place) if isinstance(value, hint) else _expected(place, value, hint.__name__)
    if issubclass(hint, StrEnum):
        return _of_words(value, hint, place)
    if hint is int:
        if isinstance(value, int) and 0 <= value < 1 << bits:
            return None
        return f"{place}: expected an integer from 0 to {(1 << bits) - 1}, found {_shown(value)}"
    return None if isinstance(value, hint) else _expected(place, value, hint.__name__)


def _of_union(value: Any, hints: tuple[Any, ...], place: str, bits: int) -> str | None:
    for hint in hints:
        if isinstance(value, typing.get_origin(hint) or hint) and not isinstance(value, str):
            return _mistake(value, hint, place, bits)
    mistakes = [_mistake(value, hint, place, bits) for hint in hints]
    return None if None in mistakes else mistakes[0]


def _of_list(value: Any, hint: Any, place: str) -> str | None:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        return _expected(place, value, "list")
    found = (_mistake(item, hint, f"{place}[{number}]", 64) for number, item in enumerate(value))
    return next((each for each in found if each is not None), None)


def _of_record(value: Any, hint: Any, place: str) -> str | None:
    for name, field in _fields(hint):
        found = _mistake(getattr(value, name), field, f"{place}.{name}", BITS.get((hint, name), 64))
        if found is not None:
            return found
    return None


def _of_words(value: Any, hint: type[StrEnum], place: str) -> str | None:
    words = [each.value for each in hint]
    if isinstance(value, str) and value in words:
        return None
    return f"{place}: expected {hint.__name__}, one of {', '.join(words)}, found {_shown(value)}"


@cache
def _fields(hint: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(typing.get_type_hints(hint).items())


def _expected(place: str, value: Any, name: str) -> str:
    return f"{place}: expected {name}, found {_shown(value)}"


def _shown(value: Any) -> str:
    """Of a value that a client may have written, no more than tells it."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:80] + '…'}"
