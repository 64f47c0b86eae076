"""The component by the C library."""

from __future__ import annotations

import atexit
import ctypes
import ctypes.util
import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from . import _json
from ._backend import WRONG, Failed, Result, read, read_keys, unicode, wrong_arguments
from ._errors import ArgumentError, ComponentError, PolicyError, SmtpFallbackError, StoreError
from .contract import AuthResults, Connection, Decision, Description, Envelope, Key, Message, StoredRecord, Summary

OK, ARGUMENT, POLICY, COMPONENT, STORE, FORKED, PANIC = range(7)
"""The statuses of `smtp_fallback.h`."""

_WITH_ARGUMENTS = ("reload", "keys", "decide", "explain", "parse_address", "inspect", "parse_authentication_results")
_WITHOUT = ("describe", "schema")

_Function = Callable[..., int]

_Log = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)


def _log(_context: int | None, level: int, line: bytes) -> None:
    """The library's log, from any thread."""
    logging.getLogger("smtp_fallback").log(logging.ERROR if level == 1 else logging.WARNING, "%s", line.decode("utf-8", "replace"))


_on_log = _Log(_log)
"""Kept for as long as the library may call it."""


def find() -> str | None:
    """The library that the environment names, or the one that is installed."""
    return os.environ.get("SMTP_FALLBACK_LIBRARY") or ctypes.util.find_library("smtp_fallback")


class _Functions:
    """The functions of one library. Found once: it has one log."""

    def __init__(self, path: str) -> None:
        try:
            library = ctypes.CDLL(path)
            answer = ctypes.POINTER(ctypes.c_void_p)
            self.open: _Function = library.smtp_fallback_open
            library.smtp_fallback_open.argtypes = [ctypes.c_char_p, answer, answer]
            self.calls: dict[str, _Function] = {}
            for name in _WITH_ARGUMENTS + _WITHOUT:
                function = getattr(library, f"smtp_fallback_{name}")
                text = [ctypes.c_char_p] if name in _WITH_ARGUMENTS else []
                function.argtypes = [ctypes.c_void_p, *text, answer]
                self.calls[name] = function
            self.free: Callable[[ctypes.c_void_p], None] = library.smtp_fallback_free
            self.close: Callable[[ctypes.c_void_p], None] = library.smtp_fallback_close
            for release in (library.smtp_fallback_free, library.smtp_fallback_close):
                release.argtypes, release.restype = [ctypes.c_void_p], None
            library.smtp_fallback_on_log.argtypes, library.smtp_fallback_on_log.restype = [_Log, ctypes.c_void_p], None
            library.smtp_fallback_on_log(_on_log, None)
            # Its threads may outlive the interpreter.
            atexit.register(library.smtp_fallback_on_log, _Log(), None)
        except (OSError, AttributeError) as error:
            raise ComponentError(f"the C library cannot be used: {error}") from None

    @staticmethod
    @cache
    def of(path: str) -> _Functions:
        return _Functions(path)

    def taken(self, answer: ctypes.c_void_p) -> bytes:
        """The answer, which is then freed."""
        if not answer.value:
            return b"null"
        try:
            return ctypes.string_at(answer.value)
        finally:
            self.free(answer)


class _Handle:
    """An open handle. A call holds a reference, so it is closed after the last one."""

    def __init__(self, functions: _Functions, settings: bytes) -> None:
        self.functions = functions
        self.pointer = ctypes.c_void_p()
        answer = ctypes.c_void_p()
        status = functions.open(settings, ctypes.byref(self.pointer), ctypes.byref(answer))
        text = functions.taken(answer)
        if status != OK:
            raise _error(status, text)

    def __del__(self) -> None:
        if self.pointer:
            self.functions.close(self.pointer)

    def call(self, name: str, *arguments: bytes) -> tuple[int, bytes]:
        answer = ctypes.c_void_p()
        status = self.functions.calls[name](self.pointer, *arguments, ctypes.byref(answer))
        return status, self.functions.taken(answer)


class Library:
    """The component, for many threads at once."""

    name = "library"

    def __init__(self, path: str, settings: dict[str, Any]) -> None:
        self._functions = _Functions.of(path)
        self._settings = json.dumps(settings).encode()
        self._policy_json: bytes | None = None
        self._lock = threading.Lock()
        self._handle: _Handle | None = _Handle(self._functions, self._settings)

    def configure(self, policy_json: str) -> Summary:
        text = _octets(policy_json)
        if b"\0" in text:
            raise ArgumentError("configure: the policy holds a NUL")
        summary = read(_json.read_summary, self._call("reload", text))
        self._policy_json = text
        return summary

    def keys(self, connection: Connection, envelope: Envelope | None, message: Message | None) -> tuple[Key, ...]:
        return read(read_keys, self._asked("keys", connection, envelope, message, None))

    def decide(
        self, connection: Connection, envelope: Envelope | None, message: Message | None, auth_results: AuthResults | None
    ) -> Decision:
        return read(_json.read_decision, self._asked("decide", connection, envelope, message, auth_results))

    def explain(
        self, connection: Connection, envelope: Envelope | None, message: Message | None, auth_results: AuthResults | None
    ) -> str:
        return str(self._asked("explain", connection, envelope, message, auth_results))

    def _asked(
        self,
        function: str,
        connection: Connection,
        envelope: Envelope | None,
        message: Message | None,
        auth_results: AuthResults | None,
    ) -> Any:
        try:
            arguments = _written(connection, envelope, message, auth_results)
        except WRONG as error:
            raise wrong_arguments(function, error, connection, envelope, message, auth_results) from None
        try:
            return self._call(function, arguments)
        except ArgumentError as error:
            # It tells a column of the JSON that was written here; better is the argument's name.
            raise wrong_arguments(function, error, connection, envelope, message, auth_results) from None

    def parse_address(self, text: str) -> Result:
        answer: Result = self._call("parse_address", _octets(json.dumps({"text": text}, ensure_ascii=False)))
        return answer

    def inspect(self, record: StoredRecord) -> Result:
        try:
            arguments = _octets(_json.write_stored_record(record))
        except WRONG as error:
            raise ArgumentError(f"inspect: {error}") from None
        answer: Result = self._call("inspect", arguments)
        return answer

    def parse_authentication_results(self, headers: Sequence[str], trusted_ids: Sequence[str]) -> AuthResults:
        arguments = json.dumps({"headers": list(headers), "trusted-ids": list(trusted_ids)}, ensure_ascii=False)
        return read(_json.read_auth_results, self._call("parse_authentication_results", _octets(arguments)))

    def describe(self) -> Description:
        return read(_json.read_description, self._call("describe"))

    def schema(self) -> str:
        return str(self._call("schema"))

    def close(self) -> None:
        self._handle = None

    def _call(self, name: str, *arguments: bytes) -> Any:
        handle = self._handle
        if handle is None:
            raise ValueError("this policy is closed")
        status, answer = handle.call(name, *arguments)
        if status == FORKED:
            status, answer = self._reopened(handle).call(name, *arguments)
        if status == OK:
            try:
                return json.loads(answer)
            except (ValueError, RecursionError) as error:
                raise Failed(f"the C library's answer cannot be read: {error}") from None
        wrong = _error(status, answer)
        if isinstance(wrong, (ComponentError, StoreError)):
            raise Failed(str(wrong))
        raise wrong

    def _reopened(self, old: _Handle) -> _Handle:
        """In the child of a fork, in place of a handle that was in use before it."""
        with self._lock:
            if self._handle is old:
                try:
                    handle = _Handle(self._functions, self._settings)
                except SmtpFallbackError as error:
                    # It was opened once, so this is a failure and no mistake of the caller's: mail passes.
                    raise Failed(f"after the fork: {error}") from None
                if self._policy_json is not None:
                    status, answer = handle.call("reload", self._policy_json)
                    if status != OK:
                        raise Failed(f"the policy was accepted once and refused now: {_error(status, answer)}")
                self._handle = handle
            if self._handle is None:
                raise ValueError("this policy is closed")
            return self._handle


def _written(
    connection: Connection, envelope: Envelope | None, message: Message | None, auth_results: AuthResults | None
) -> bytes:
    parts = ['{"connection":', _json.write_connection(connection)]
    if envelope is not None:
        parts += [',"envelope":', _json.write_envelope(envelope)]
    if message is not None:
        parts += [',"message":', _json.write_message(message)]
    if auth_results is not None:
        parts += [',"auth-results":', _json.write_auth_results(auth_results)]
    return _octets("".join(parts) + "}")


def _octets(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return unicode(text).encode()


def _error(status: int, answer: bytes) -> SmtpFallbackError:
    """What an answer other than OK says."""
    try:
        told = json.loads(answer)
        message = str(told["message"])
        if status == POLICY:
            return PolicyError(tuple(_json.read_policy_error(fault) for fault in told["errors"]))
    except WRONG:
        message = f"status {status} of the C library: {answer[:200]!r}"
    kinds: dict[int, type[SmtpFallbackError]] = {ARGUMENT: ArgumentError, STORE: StoreError}
    return kinds.get(status, ComponentError)(message)
