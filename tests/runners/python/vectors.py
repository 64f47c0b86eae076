"""Runs the vectors through the package's own types. tests/vectors/README.md states the format."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from smtp_fallback import (
    AddressError,
    AuthResults,
    Connection,
    Decision,
    Envelope,
    Key,
    KeyKind,
    Message,
    Policy,
    PolicyError,
    RecordError,
    StoredRecord,
)
from typed import plain, typed, without_nulls

TESTS = Path(__file__).parents[2]
FOLDER = TESTS / "vectors"
SECRET = "0123456789abcdef"

Open = Callable[..., Policy]
"""Makes a policy: of a text or none, with this `secret`."""


def frozen() -> list[Path]:
    """The folders of the published versions, each with its component and vectors of its own."""
    return sorted(path.parent for path in (TESTS / "frozen").glob("*/policy.wit"))


def files(root: Path = FOLDER) -> Iterator[Path]:
    """All vectors in this folder, in the order of their names."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names) if name.endswith(".json"))


def run(open_policy: Open, file: Path) -> tuple[int, str | None]:
    """Runs all steps up to the first failure; gives the number of calls, and the failure."""
    vector = json.loads(file.read_text(encoding="utf-8"))
    runner = Runner(open_policy, vector)
    try:
        for number, step in enumerate(vector["steps"], 1):
            for _ in range(step.get("times", 1)):
                found, expected = runner.step(step), without_nulls(step["expect"])
                if found != expected:
                    told = f"found    {json.dumps(found)}\n  expected {json.dumps(expected)}"
                    return runner.calls, f"{file.relative_to(TESTS)}, step {number}:\n  {told}"
    finally:
        runner.policy.close()
    return runner.calls, None


class Runner:
    """A policy, and the records that it returned with the time when each expires."""

    def __init__(self, open_policy: Open, vector: dict[str, Any]) -> None:
        self.open = open_policy
        self.given = vector.get("given") or {}
        policy = json.dumps(vector["policy"]) if vector.get("policy") is not None else None
        self.policy = open_policy(policy, secret=vector.get("secret", SECRET).encode())
        self.kept: dict[Key, tuple[int, bytes]] = {}
        self.calls = 0

    def step(self, step: dict[str, Any]) -> Any:
        self.calls += 1
        given = merged(self.given, step.get("input") or {})
        if isinstance(message_id := given.get("message", {}).get("message-id"), str):
            given["message"] = given["message"] | {"message-id": message_id.replace("{n}", str(self.calls))}
        name = step["call"]
        if name == "explain":
            told = self.policy.explain(*self.looked_up(given))
            return [text for text in step["expect"] if text in told]
        call: Callable[[dict[str, Any]], Any] = getattr(self, name.replace("-", "_"))
        return without_nulls(call(given))

    def configure(self, given: dict[str, Any]) -> Any:
        # A policy has one secret for its life, so each configuration makes a new one.
        try:
            policy = self.open(given["policy-json"], secret=given.get("secret", SECRET).encode())
        except PolicyError as error:
            return {"err": plain(error.errors)}
        self.policy.close()
        self.policy = policy
        return {"ok": plain(policy.summary)}

    def describe(self, given: dict[str, Any]) -> Any:
        described: dict[str, Any] = plain(self.policy.describe())
        return described | {"defaults": json.loads(described["defaults"])}

    def keys(self, given: dict[str, Any]) -> Any:
        return plain(self.policy.keys(*case(given)[:3]))

    def decide(self, given: dict[str, Any]) -> Any:
        arguments = self.looked_up(given)
        decision = self.policy.decide(*arguments)
        for record in decision.records:
            self.kept[record.key] = (arguments[0].now + record.expires_in, record.value)
        return compared(decision)

    def looked_up(self, given: dict[str, Any]) -> Case:
        """The arguments with the records that the module asks for, in two rounds at most, as a host does."""
        connection, envelope, message, auth_results = case(given)
        own = {record.key for record in connection.records}
        records = list(connection.records)
        asked: set[Key] = set()
        for _ in range(2):
            connection = replaced(connection, records)
            new = [key for key in self.policy.keys(connection, envelope, message) if key not in asked]
            for key in new:
                asked.add(key)
                expires, value = self.kept.get(key, (0, b""))
                if expires > connection.now and key not in own:
                    records.append(StoredRecord(key=key, value=value))
            if not new:
                break
        return replaced(connection, records), envelope, message, auth_results

    def parse_address(self, given: dict[str, Any]) -> Any:
        try:
            return {"ok": self.policy.parse_address(given["text"])}
        except AddressError as error:
            return {"err": str(error)}

    def inspect(self, given: dict[str, Any]) -> Any:
        key = self.only(KeyKind(given["kind"])) if "kind" in given else typed(given["key"], Key)
        value = bytes(given["value"]) if "value" in given else self.kept[key][1]
        try:
            return {"ok": self.policy.inspect(StoredRecord(key=key, value=value))}
        except RecordError as error:
            return {"err": str(error)}

    def only(self, kind: KeyKind) -> Key:
        (key,) = [key for key in self.kept if key.kind == kind]
        return key

    def parse_authentication_results(self, given: dict[str, Any]) -> Any:
        return plain(self.policy.parse_authentication_results(given["headers"], given["trusted-ids"]))


Case = tuple[Connection, Envelope | None, Message | None, AuthResults | None]


def case(given: dict[str, Any]) -> Case:
    """The arguments of `decide`. They are taken one by one: an argument that is unknown is an error."""
    rest = dict(given)
    connection: Connection = typed(rest.pop("connection"), Connection)
    envelope = typed(rest.pop("envelope", None), Envelope | None)
    message = typed(rest.pop("message", None), Message | None)
    auth_results = typed(rest.pop("auth-results", None), AuthResults | None)
    if rest:
        raise ValueError(f"unknown arguments {', '.join(rest)}")
    return connection, envelope, message, auth_results


def replaced(connection: Connection, records: list[StoredRecord]) -> Connection:
    return replace(connection, records=tuple(records))


def compared(decision: Decision) -> Any:
    """The decision as it is compared: a record by its key alone, that of a mail by its kind."""
    told: dict[str, Any] = plain(decision)
    mails = (KeyKind.EXACT, KeyKind.INFERRED)
    told["records"] = [
        {"kind": each.key.kind.value} if each.key.kind in mails else plain(each.key) for each in decision.records
    ]
    return told


def merged(given: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The input of a step over that of the vector, record by record, field by field."""
    both = dict(given)
    for name, value in own.items():
        both[name] = both[name] | value if isinstance(both.get(name), dict) and isinstance(value, dict) else value
    return both
