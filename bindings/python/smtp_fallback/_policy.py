"""A policy in force."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from ._backend import Backend, Failed
from ._errors import AddressError, ArgumentError, ComponentError, RecordError
from .contract import (
    AuthResults,
    Connection,
    Decision,
    Description,
    Envelope,
    Key,
    Message,
    OtherNote,
    Reason,
    Stage,
    StoredRecord,
    Summary,
    Verdict,
)

log = logging.getLogger("smtp_fallback")

StrPath = str | os.PathLike[str]

BUNDLED = Path(__file__).with_name("smtp-fallback-policy.wasm")
"""The component that came with the package."""


class Policy:
    """The policy component with one policy. Call it from any thread.

    Without a policy it lets everything pass, with reason `no-policy`, until `configure`.
    """

    def __init__(
        self,
        policy: str | Mapping[str, Any] | None = None,
        *,
        secret: bytes = b"",
        component: StrPath = BUNDLED,
        backend: Literal["auto", "library", "wasmtime"] = "auto",
        library: StrPath | None = None,
        store: Mapping[str, Any] | None = None,
        cache: StrPath | None = None,
        deadline: float = 0.05,
        memory: int = 16 << 20,
    ) -> None:
        """Load the component and configure it.

        secret: keys the hashes of networks and mails; at best 16 random octets or more, the same on all hosts that share records.
        component: another build of it.
        backend: `library` runs it by the C library, `wasmtime` by the Python package of that name; `auto` takes the library where there is
            one.
        library: the C library's path; else that of the environment variable SMTP_FALLBACK_LIBRARY, else the one that is installed.
        store: where the C library keeps records by itself, in the form of its settings; `decide` then looks them up and stores them.
        cache: a directory, of this user alone, where the C library keeps machine code.
        deadline: seconds that a decision may take.
        memory: octets of memory that the component may have.

        Raises PolicyError, ComponentError, StoreError or ArgumentError.
        """
        if not isinstance(secret, bytes):
            raise ArgumentError(f"secret: expected bytes, found {type(secret).__name__}")
        if not 0.001 <= deadline <= 10:
            raise ArgumentError(f"deadline: expected 0.001 to 10 seconds, found {deadline}")
        if not 1 << 20 <= memory <= 1 << 30:
            raise ArgumentError(f"memory: expected {1 << 20} to {1 << 30} octets, found {memory}")
        path = _library(backend, library)
        if path is None:
            if store is not None or cache is not None:
                raise ArgumentError("store and cache are the C library's, and there is none: name it by library=…")
            # Imported here: it loads wasmtime, of which a process with the C library has one already.
            from ._wasmtime import Wasmtime

            self._backend: Backend = Wasmtime(Path(component), secret, deadline, memory)
        else:
            from ._library import Library

            settings: dict[str, Any] = {
                "component": os.fspath(component), "deadline-ms": max(1, round(deadline * 1000)), "memory": memory,
            }
            settings |= {"secret": list(secret)} if secret else {}
            settings |= {} if store is None else {"store": store}
            settings |= {} if cache is None else {"cache": os.fspath(cache)}
            self._backend = Library(path, settings)
        self._summary: Summary | None = None
        if policy is not None:
            self.configure(policy)

    @property
    def summary(self) -> Summary | None:
        """Of the policy in force: its mode, the methods whose results it wants, and warnings. None without a policy."""
        return self._summary

    @property
    def backend(self) -> str:
        """What runs the component: `library` or `wasmtime`."""
        return self._backend.name

    def configure(self, policy: str | Mapping[str, Any]) -> Summary:
        """Put another policy in force, for calls that begin after this one returns. On an error the policy before stays.

        Raises PolicyError with all its faults.
        """
        if not isinstance(policy, str):
            try:
                policy = json.dumps(policy)
            except (TypeError, ValueError, RecursionError) as error:
                raise ArgumentError(f"the policy is no JSON: {error}") from None
        try:
            self._summary = self._backend.configure(policy)
        except Failed as failed:
            raise ComponentError(f"the policy could not be read: {failed}") from None
        return self._summary

    def keys(self, connection: Connection, envelope: Envelope | None = None, message: Message | None = None) -> tuple[Key, ...]:
        """The keys whose records `decide` will want. Call it again with the records found, until it names no key that was not named
        before; two rounds are enough. Empty when the component fails: decide without records then.
        """
        try:
            return self._backend.keys(connection, envelope, message)
        except Failed as failed:
            log.error("keys: the policy failed: %s", failed)
            return ()

    def decide(
        self,
        connection: Connection,
        envelope: Envelope | None = None,
        message: Message | None = None,
        auth_results: AuthResults | None = None,
    ) -> Decision:
        """Decide. When the component fails, mail passes: `failure` of the decision says why, and so does the log."""
        try:
            return self._backend.decide(connection, envelope, message, auth_results)
        except Failed as failed:
            log.error("decide: the policy failed; mail is not refused because of that: %s", failed)
            return _passing(connection.stage, str(failed))

    def explain(
        self,
        connection: Connection,
        envelope: Envelope | None = None,
        message: Message | None = None,
        auth_results: AuthResults | None = None,
    ) -> str:
        """The decision in words, with the path that led to it: for people, of no fixed form."""
        try:
            return self._backend.explain(connection, envelope, message, auth_results)
        except Failed as failed:
            raise ComponentError(f"explain: {failed}") from None

    def parse_address(self, text: str) -> str:
        """Read an address as mail servers write it: with brackets, with a zone id, with Sendmail's `IPv6:` prefix.

        Raises AddressError, which says what was expected.
        """
        _expect_text("parse_address", text)
        try:
            answer = self._backend.parse_address(text)
        except Failed as failed:
            raise ComponentError(f"parse_address: {failed}") from None
        if "err" in answer:
            raise AddressError(answer["err"])
        return str(answer["ok"])

    def inspect(self, record: StoredRecord) -> dict[str, Any]:
        """A record for people and reports. Raises RecordError for octets that are no record."""
        try:
            answer = self._backend.inspect(record)
        except Failed as failed:
            raise ComponentError(f"inspect: {failed}") from None
        if "err" in answer:
            raise RecordError(answer["err"])
        told: dict[str, Any] = json.loads(answer["ok"])
        return told

    def parse_authentication_results(self, headers: Sequence[str], trusted_ids: Sequence[str]) -> AuthResults:
        """Read Authentication-Results header fields (RFC 8601), the topmost first, with or without the field's name. Only those whose
        authserv-id is one of the trusted ids count.

        Pass only fields that your own border added: a client can write any id it likes.
        """
        for name, texts in (("headers", headers), ("trusted_ids", trusted_ids)):
            if isinstance(texts, str) or not isinstance(texts, Sequence):
                raise ArgumentError(f"{name}: expected a list of texts, found {type(texts).__name__}")
            for text in texts:
                _expect_text(name, text)
        try:
            return self._backend.parse_authentication_results(headers, trusted_ids)
        except Failed as failed:
            raise ComponentError(f"parse_authentication_results: {failed}") from None

    def describe(self) -> Description:
        """What the component is."""
        try:
            return self._backend.describe()
        except Failed as failed:
            raise ComponentError(f"describe: {failed}") from None

    def schema(self) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) of the policy."""
        try:
            schema: dict[str, Any] = json.loads(self._backend.schema())
        except Failed as failed:
            raise ComponentError(f"schema: {failed}") from None
        return schema

    def close(self) -> None:
        """Give back what the component holds. Calls that come later raise ValueError."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _library(backend: str, library: StrPath | None) -> str | None:
    """The C library that is to be used; None for wasmtime."""
    if backend not in ("auto", "library", "wasmtime"):
        raise ArgumentError(f"backend: expected auto, library or wasmtime, found {backend!r}")
    if backend == "wasmtime":
        if library is not None:
            raise ArgumentError("library: not used by the backend wasmtime")
        return None
    if library is not None:
        return os.fspath(library)
    from ._library import find

    found = find()
    if found is None and backend == "library":
        raise ComponentError("there is no libsmtp_fallback: install it, or name it by library=… or SMTP_FALLBACK_LIBRARY")
    return found


def _passing(stage: Stage, failure: str) -> Decision:
    """What stands in for a decision that the component did not make: the policy only asks for another route."""
    return Decision(
        verdict=Verdict.ACCEPT if stage == Stage.END_OF_DATA else Verdict.CONTINUE,
        reason=Reason.NO_POLICY,
        authenticated_domains=(),
        notes=(OtherNote("policy-failed"),),
        records=(),
        failure=failure,
    )


def _expect_text(place: str, text: object) -> None:
    if not isinstance(text, str):
        raise ArgumentError(f"{place}: expected a text, found {type(text).__name__}")
