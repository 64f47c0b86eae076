"""What the two ways to run the component have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from . import _check
from ._errors import ArgumentError
from ._json import read_key
from .contract import AuthResults, Connection, Decision, Description, Envelope, Key, Message, StoredRecord, Summary

_Answer = TypeVar("_Answer")

Result = Mapping[str, Any]
"""`{"ok": …}` or `{"err": …}`."""

WRONG = (TypeError, ValueError, KeyError, AttributeError, RecursionError)
"""What a value that is not of its type raises on the way in or out."""


class Failed(Exception):
    """The component gave no answer; says why."""


class Backend(Protocol):
    """The functions of the contract. All raise `Failed`, and `ArgumentError` for values that are not of their type."""

    name: str

    def configure(self, policy_json: str) -> Summary: ...

    def keys(self, connection: Connection, envelope: Envelope | None, message: Message | None) -> tuple[Key, ...]: ...

    def decide(
        self, connection: Connection, envelope: Envelope | None, message: Message | None, auth_results: AuthResults | None
    ) -> Decision: ...

    def explain(
        self, connection: Connection, envelope: Envelope | None, message: Message | None, auth_results: AuthResults | None
    ) -> str: ...

    def parse_address(self, text: str) -> Result: ...

    def inspect(self, record: StoredRecord) -> Result: ...

    def parse_authentication_results(self, headers: Sequence[str], trusted_ids: Sequence[str]) -> AuthResults: ...

    def describe(self) -> Description: ...

    def schema(self) -> str: ...

    def close(self) -> None: ...


def wrong_arguments(
    function: str,
    error: Exception,
    connection: Connection,
    envelope: Envelope | None,
    message: Message | None,
    auth_results: AuthResults | None = None,
) -> ArgumentError:
    """Says which argument is wrong."""
    arguments = {"connection": connection, "envelope": envelope, "message": message, "auth_results": auth_results}
    mistake = _check.mistake(arguments) or str(error).removeprefix(f"{function}: ")
    return ArgumentError(f"{function}: {mistake}")


def read(reader: Callable[[Any], _Answer], answer: Any) -> _Answer:
    """The answer of a function as its type."""
    try:
        return reader(answer)
    except WRONG as error:
        raise Failed(f"the component's answer cannot be read: {error!r}") from None


def read_keys(answer: Any) -> tuple[Key, ...]:
    """The answer of `keys`."""
    return tuple([read_key(key) for key in answer])


_NO_OCTET = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that stand for no octet: those that do are U+DC80 to U+DCFF."""


def unicode(text: str) -> str:
    """Python carries octets that are no UTF-8 as lone surrogates, and a client may send any octets. The contract has Unicode text: what
    is none becomes U+FFFD, as in hosts in Rust, so that both recognise the same mail."""
    return _NO_OCTET.sub("\ufffd", text).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
