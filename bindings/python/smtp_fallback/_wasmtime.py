"""The component by wasmtime's own Python package."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wasmtime import Config, Engine, Store, Trap, WasmtimeError
from wasmtime import component as wasm

from ._backend import WRONG, Failed, Result, read, read_keys, unicode, wrong_arguments
from ._errors import ArgumentError, ComponentError, PolicyError
from ._json import read_auth_results, read_decision, read_description, read_policy_error, read_summary
from ._reply_check import mistake, would_mistake
from ._values import FixedType, Lower, is_ipv4, lifted, lowering
from .contract import VERSION, AuthResults, Connection, Decision, Description, Envelope, Key, Message, StoredRecord, Summary

log = logging.getLogger("smtp_fallback")

INTERFACE = f"smtp-fallback:policy/policy@{VERSION}"

FUNCTIONS = (
    "configure", "schema", "describe", "keys", "decide", "explain", "parse-address", "inspect", "parse-authentication-results",
)

FUEL_PER_SECOND = 1_000_000_000
"""About as many instructions as a processor runs in a second. They are counted instead of the time: that needs no thread, which would
not survive a fork, and a busy host does not look like a component that hangs."""

_CONFIGURE_FACTOR = 20
"""A policy may take so many times as long as a decision."""

_MAX_TABLE = 10_000
"""Far more than the functions of the policy."""


class _Loaded:
    """A compiled component."""

    def __init__(self, octets: bytes) -> None:
        config = Config()
        config.consume_fuel = True
        # Threads that compile would not survive a fork.
        config.parallel_compilation = False
        self.engine = Engine(config)
        self.component = wasm.Component(self.engine, octets)
        imports = ", ".join(self.component.type.imports(self.engine))
        if imports:
            raise ComponentError(f"the component imports {imports}, but must import nothing")
        self.linker = wasm.Linker(self.engine)
        self.types: dict[str, FixedType] = {}


_loaded: dict[bytes, _Loaded] = {}
_loading = threading.Lock()


def _load(path: Path) -> _Loaded:
    """Compiles each component once in a process: that takes most of the time of loading."""
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise ComponentError(f"{path}: {error.strerror}; correct the path") from None
    key = hashlib.sha256(octets).digest()
    with _loading:
        if key not in _loaded:
            try:
                _loaded[key] = _Loaded(octets)
            except WasmtimeError as error:
                raise ComponentError(f"{path} is not a component that can be run: {error}") from None
        return _loaded[key]


class _Instance:
    """An instance with its memory. After a failed call it is dead: drop it."""

    def __init__(self, loaded: _Loaded, fuel: int, memory: int) -> None:
        self.store = Store(loaded.engine)
        self.store.set_limits(memory_size=memory, table_elements=_MAX_TABLE)
        self.store.set_fuel(fuel)
        instance = loaded.linker.instantiate(self.store, loaded.component)
        interface = instance.get_export_index(self.store, INTERFACE)
        if interface is None:
            raise ComponentError(f"the component does not export {INTERFACE}: it is of another version, or not this policy")
        self.functions: dict[str, wasm.Func] = {}
        for name in FUNCTIONS:
            index = instance.get_export_index(self.store, name, interface)
            function = None if index is None else instance.get_func(self.store, index)
            if function is None:
                raise ComponentError(f"the component's {INTERFACE} has no function {name}")
            fixed = loaded.types.get(name) or loaded.types.setdefault(name, FixedType(function, self.store))
            # Bound to the instance in place of the method: `Func.__call__` asks `self` for its type.
            function.__dict__["type"] = lambda _store, fixed=fixed: fixed
            self.functions[name] = function

    def call(self, name: str, fuel: int, *arguments: Any) -> Any:
        self.store.set_fuel(fuel)
        return self.functions[name](self.store, *arguments)


class Wasmtime:
    """The component, one call at a time."""

    name = "wasmtime"

    def __init__(self, component: Path, secret: bytes, deadline: float, memory: int) -> None:
        self._secret = secret
        self._fuel = round(deadline * FUEL_PER_SECOND)
        self._memory = memory
        self._policy_json: str | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._loaded = _load(component)
        try:
            self._instance: _Instance | None = self._new()
        except Failed as failed:
            raise ComponentError(str(failed)) from None
        self._keys = self._lowering("keys")
        self._decide = self._lowering("decide")
        self._inspect = self._lowering("inspect")
        _all.add(self)

    def _lowering(self, name: str) -> list[Lower]:
        return [lowering(ty, self._parsed) for _, ty in self._loaded.types[name].params]

    def configure(self, policy_json: str) -> Summary:
        # On an instance of its own: whatever happens, the policy before stays in force.
        instance = self._new()
        summary = self._configured(instance, policy_json)
        with self._lock:
            if self._closed:
                raise ValueError("this policy is closed")
            self._instance, self._policy_json = instance, policy_json
        return summary

    def keys(self, connection: Connection, envelope: Envelope | None, message: Message | None) -> tuple[Key, ...]:
        try:
            lowered = [lower(value) for lower, value in zip(self._keys, (connection, envelope, message), strict=True)]
        except WRONG as error:
            raise wrong_arguments("keys", error, connection, envelope, message) from None
        return read(read_keys, self._call("keys", *lowered))

    def decide(
        self, connection: Connection, envelope: Envelope | None, message: Message | None, auth_results: AuthResults | None
    ) -> Decision:
        lowered = self._case("decide", connection, envelope, message, auth_results)
        decision = read(read_decision, self._call("decide", *lowered))
        from_ipv4 = is_ipv4(lowered[0].client)
        if wrong := mistake(decision, connection, from_ipv4):
            raise Failed(f"the component's reply cannot be sent: {wrong}")
        if wrong := would_mistake(decision, connection, from_ipv4):
            log.error("decide: what would have been answered cannot be sent, and is left out: %s", wrong)
            decision = replace(decision, would=None)
        return decision

    def explain(
        self, connection: Connection, envelope: Envelope | None, message: Message | None, auth_results: AuthResults | None
    ) -> str:
        return str(self._call("explain", *self._case("explain", connection, envelope, message, auth_results)))

    def _case(
        self,
        function: str,
        connection: Connection,
        envelope: Envelope | None,
        message: Message | None,
        auth_results: AuthResults | None,
    ) -> list[Any]:
        try:
            values = (connection, envelope, message, auth_results)
            return [lower(value) for lower, value in zip(self._decide, values, strict=True)]
        except WRONG as error:
            raise wrong_arguments(function, error, *values) from None

    def parse_address(self, text: str) -> Result:
        answer = self._raw_call("parse-address", unicode(text))
        return {"ok": lifted(answer)} if isinstance(answer, wasm.Record) else {"err": answer}

    def _parsed(self, text: str) -> wasm.Record:
        answer = self._raw_call("parse-address", unicode(text))
        if isinstance(answer, wasm.Record):
            return answer
        raise ValueError(answer)

    def inspect(self, record: StoredRecord) -> Result:
        try:
            lowered = self._inspect[0](record)
        except WRONG as error:
            raise ArgumentError(f"inspect: {error}") from None
        answer: Result = self._call("inspect", lowered)
        return answer

    def parse_authentication_results(self, headers: Sequence[str], trusted_ids: Sequence[str]) -> AuthResults:
        fields, ids = ([unicode(text) for text in texts] for texts in (headers, trusted_ids))
        return read(read_auth_results, self._call("parse-authentication-results", fields, ids))

    def describe(self) -> Description:
        return read(read_description, self._call("describe"))

    def schema(self) -> str:
        return str(self._call("schema"))

    def close(self) -> None:
        with self._lock:
            self._closed, self._instance = True, None

    def _call(self, name: str, *arguments: Any) -> Any:
        return lifted(self._raw_call(name, *arguments))

    def _raw_call(self, name: str, *arguments: Any) -> Any:
        with self._lock:
            if self._closed:
                raise ValueError("this policy is closed")
            instance = self._instance or self._started()
            # In place again only after the call went well: an instance that failed is not used again.
            self._instance = None
            answer = self._run(instance, name, self._fuel, *arguments)
            self._instance = instance
            return answer

    def _started(self) -> _Instance:
        """In place of one that failed."""
        instance = self._new()
        if self._policy_json is not None:
            try:
                self._configured(instance, self._policy_json)
            except PolicyError as error:
                raise Failed(f"the policy was accepted once and refused now: {error}") from None
        return instance

    def _new(self) -> _Instance:
        try:
            return _Instance(self._loaded, self._fuel, self._memory)
        except (WasmtimeError, Trap) as error:
            raise Failed(f"the component cannot be started: {_first_line(error)}") from None

    def _configured(self, instance: _Instance, policy_json: str) -> Summary:
        fuel = max(self._fuel * _CONFIGURE_FACTOR, FUEL_PER_SECOND)
        answer = lifted(self._run(instance, "configure", fuel, unicode(policy_json), self._secret))
        if isinstance(answer, list):
            raise PolicyError(tuple(read(read_policy_error, fault) for fault in answer))
        return read(read_summary, answer)

    def _run(self, instance: _Instance, name: str, fuel: int, *arguments: Any) -> Any:
        try:
            return instance.call(name, fuel, *arguments)
        except (WasmtimeError, Trap) as error:
            if "all fuel consumed" in str(error):
                raise Failed(f"the component took more than {fuel} instructions") from None
            raise Failed(f"the component trapped: {_first_line(error)}") from None
        except WRONG as error:
            raise Failed(f"the component's answer cannot be read: {error!r}") from None


def _first_line(error: Exception) -> str:
    """Without the frames, which have no names: of the causes the last, which is what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


_all: weakref.WeakSet[Wasmtime] = weakref.WeakSet()


def _after_fork() -> None:
    """A thread that is no more may have held the lock, with the instance in the middle of a call."""
    global _loading
    _loading = threading.Lock()
    for each in list(_all):
        each._lock = threading.Lock()
        each._instance = None


os.register_at_fork(after_in_child=_after_fork)
