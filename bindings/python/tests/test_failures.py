"""What happens when an argument, the component or the host's process is not as it should be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import smtp_fallback
from backends import BACKENDS, CONNECTION, ENVELOPE, FAILED, MESSAGE, opened
from smtp_fallback import (
    ArgumentError,
    AuthResults,
    ComponentError,
    Connection,
    Decision,
    Dkim,
    Envelope,
    OtherNote,
    Policy,
    Reason,
    Refuse,
    Reply,
    SmtpFallbackError,
    Stage,
    StoredRecord,
    Verdict,
    Verified,
)

LITTLE_MEMORY = 18 << 16
"""One page more than the component starts with."""

MANY = Envelope(mail_from="alice@example.net", recipients=[f"bob{number}@example.org" for number in range(40_000)])
"""More recipients than fit into it."""

anything: Any = object()
one: Any = [1]


class Arguments(unittest.TestCase):
    def test_what_is_wrong_is_said_with_its_place(self) -> None:
        wrong: list[tuple[str, tuple[Any, ...]]] = [
            ("connection: expected Connection, found NoneType None", (None,)),
            ("connection.stage: expected Stage, one of greeting, ehlo, .*, found str 'gretting'", (_with(stage="gretting"),)),
            ("connection.client: expected str, found int 1", (_with(client=1),)),
            ('"nope" is no IP address; expected one such as', (_with(client="nope"),)),
            ("connection.ehlo_name: expected str, found bytes b'x'", (_with(ehlo_name=b"x"),)),
            (r"connection.tls.names\[0\]: expected str, found int 1", (_with(tls=Verified(one)),)),
            ("connection.tls: expected Tls, one of none, encrypted, found str 'verified'", (_with(tls="verified"),)),
            ("connection.authenticated: expected bool, found str 'no'", (_with(authenticated="no"),)),
            ("connection.authenticated: expected bool, found int 1", (_with(authenticated=1),)),
            ("connection.nonce: expected an integer from 0 to 4294967295, found int 4294967296", (_with(nonce=1 << 32),)),
            ("connection.now: expected an integer from 0 to .*, found int -1", (_with(now=-1),)),
            ("connection.now: expected an integer from 0 to .*, found float 1.5", (_with(now=1.5),)),
            ("connection.records: expected list, found str 'x'", (_with(records="x"),)),
            (r"connection.records\[0\].value: expected bytes, found str 'x'", (_with(records=[_record("x")]),)),
            ("envelope.recipients: expected list, found str", (CONNECTION, Envelope(mail_from="", recipients="bob@example.org"))),
            ("message.size: expected an integer", (CONNECTION, None, replace(MESSAGE, size=anything))),
            (r"auth_results.dkim\[0\].result: expected AuthResult, one of", (CONNECTION, None, None, _signed("passed"))),
        ]
        for backend in BACKENDS:
            with opened(backend) as policy:
                for expected, arguments in wrong:
                    with self.subTest(f"{backend}: {expected}"), self.assertRaisesRegex(ArgumentError, expected):
                        policy.decide(*arguments)
                self.assertIs(policy.decide(CONNECTION, ENVELOPE, MESSAGE, FAILED).reason, Reason.UNAUTHENTICATED)

    def test_those_of_the_other_functions(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend) as policy:
                calls: list[tuple[Callable[..., object], tuple[Any, ...]]] = [
                    (policy.keys, (anything,)),
                    (policy.explain, (CONNECTION, anything)),
                    (policy.parse_address, (anything,)),
                    (policy.inspect, (_record("x"),)),
                    (policy.inspect, (anything,)),
                    (policy.parse_authentication_results, ("mx.example; spf=pass", [])),
                    (policy.parse_authentication_results, ([], [anything])),
                    (policy.configure, ({"mode": anything},)),
                ]
                for call, arguments in calls:
                    with self.assertRaises(ArgumentError):
                        call(*arguments)

    def test_an_argument_error_is_a_type_error_and_a_value_error(self) -> None:
        for kind in (TypeError, ValueError, SmtpFallbackError):
            self.assertTrue(issubclass(ArgumentError, kind))

    def test_settings(self) -> None:
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("secret: expected bytes, found str", {"secret": "text"}),
            ("deadline: expected 0.001 to 10 seconds, found 0", {"deadline": 0}),
            ("memory: expected 1048576 to 1073741824 octets, found 1", {"memory": 1}),
            ("backend: expected auto, library or wasmtime, found 'native'", {"backend": "native"}),
            ("library: not used by the backend wasmtime", {"backend": "wasmtime", "library": "x"}),
            ("store and cache are the C library's", {"backend": "wasmtime", "store": {"memory": {}}}),
        ]
        for expected, settings in wrong:
            with self.subTest(expected), self.assertRaisesRegex(ArgumentError, expected):
                Policy(**settings)


class Component(unittest.TestCase):
    def test_one_that_cannot_be_loaded(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "component.wasm"
            for backend in BACKENDS:
                with self.subTest(backend), self.assertRaisesRegex(ComponentError, "component.wasm: No such file"):
                    opened(backend, component=file)
            for octets in (b"", b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0"):
                file.write_bytes(octets)
                for backend in BACKENDS:
                    with self.subTest(f"{backend}: {octets!r}"), self.assertRaises(ComponentError):
                        opened(backend, component=file)

    def test_a_library_that_cannot_be_loaded(self) -> None:
        for path in ("/nonexistent/libsmtp_fallback.so", "libc.so.6"):
            with self.subTest(path), self.assertRaisesRegex(ComponentError, "the C library cannot be used"):
                Policy(library=path)

    def test_when_memory_runs_out_the_mail_passes_and_the_next_decision_is_the_policy_s(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend, memory=LITTLE_MEMORY) as policy:
                for stage, verdict in ((Stage.END_OF_DATA, Verdict.ACCEPT), (Stage.DATA, Verdict.CONTINUE)):
                    with self.assertLogs("smtp_fallback", "ERROR"):
                        decision = policy.decide(replace(CONNECTION, stage=stage), MANY, MESSAGE, FAILED)
                    self.assertIs(decision.verdict, verdict)
                    self.assertEqual((decision.reason, decision.notes), (Reason.NO_POLICY, (OtherNote("policy-failed"),)))
                    self.assertTrue(decision.failure)
                    self.assertIsInstance(policy.decide(CONNECTION, ENVELOPE, MESSAGE, FAILED).verdict, Refuse)
                with self.assertLogs("smtp_fallback", "ERROR"):
                    self.assertEqual(policy.keys(CONNECTION, MANY, MESSAGE), ())
                # The C library logs each failure, wherever it occurs.
                logs = self.assertLogs if backend == "library" else self.assertNoLogs
                with logs("smtp_fallback"), self.assertRaises(ComponentError):
                    policy.explain(CONNECTION, MANY, MESSAGE, FAILED)

    def test_a_decision_that_takes_too_long_passes(self) -> None:
        with opened("wasmtime", deadline=0.001) as policy, self.assertLogs("smtp_fallback", "ERROR") as logs:
            decision = policy.decide(CONNECTION, MANY, MESSAGE, FAILED)
            self.assertIs(decision.verdict, Verdict.ACCEPT)
            self.assertEqual(decision.failure, "the component took more than 1000000 instructions")
        self.assertIn("mail is not refused because of that", logs.output[0])

    def test_a_policy_that_fails_to_load_leaves_the_one_before(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend, memory=LITTLE_MEMORY) as policy:
                with self.assertRaisesRegex(ComponentError, "the policy could not be read"):
                    policy.configure({"exempt": {"networks": [f"2001:db8:{number:x}::/48" for number in range(10_000)]}})
                self.assertIsInstance(policy.decide(CONNECTION, ENVELOPE, MESSAGE, FAILED).verdict, Refuse)

    def test_a_reply_that_must_not_be_sent_is_not(self) -> None:
        bad = Reply(code=554, enhanced_code="5.7.1", lines=("Go away",), close=False)
        answer = Decision(
            verdict=Refuse(bad), reason=Reason.PENALTY, authenticated_domains=(), notes=(), records=()
        )
        with opened("wasmtime") as policy, patch("smtp_fallback._wasmtime.read_decision", return_value=answer):
            with self.assertLogs("smtp_fallback", "ERROR") as logs:
                self.assertIs(policy.decide(CONNECTION).verdict, Verdict.ACCEPT)
        self.assertIn("code 554 for the reason penalty", logs.output[0])

    def test_a_reply_that_would_not_have_been_sent_is_left_out(self) -> None:
        bad = Reply(code=451, enhanced_code="4.4.8", lines=("one\r\n250 two",), close=True)
        answer = Decision(
            verdict=Verdict.ACCEPT, would=Refuse(bad), reason=Reason.PENALTY, authenticated_domains=(), notes=(), records=()
        )
        with opened("wasmtime") as policy, patch("smtp_fallback._wasmtime.read_decision", return_value=answer):
            with self.assertLogs("smtp_fallback", "ERROR") as logs:
                self.assertEqual(policy.decide(CONNECTION), replace(answer, would=None))
        self.assertIn("line 1 is empty or not printable ASCII", logs.output[0])

    def test_an_answer_that_cannot_be_read_costs_no_mail(self) -> None:
        """Such as a word that another version of the contract has."""
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend) as policy:
                with patch.dict("smtp_fallback._json._REASON", clear=True), self.assertLogs("smtp_fallback", "ERROR"):
                    self.assertIn("cannot be read: KeyError('unauthenticated')", str(_decided(policy).failure))
                with patch.dict("smtp_fallback._json._KEY_KIND", clear=True), self.assertLogs("smtp_fallback", "ERROR"):
                    self.assertEqual(policy.keys(CONNECTION, ENVELOPE, MESSAGE), ())

    def test_no_client_over_ipv4_is_refused_whatever_the_component_says(self) -> None:
        reply = Reply(code=451, enhanced_code="4.4.8", lines=("Try IPv4",), close=True)
        answer = Decision(verdict=Refuse(reply), reason=Reason.PENALTY, authenticated_domains=(), notes=(), records=())
        with opened("wasmtime") as policy, patch("smtp_fallback._wasmtime.read_decision", return_value=answer):
            for client in ("192.0.2.1", "::ffff:192.0.2.1", "64:ff9b::c000:201"):
                with self.subTest(client), self.assertLogs("smtp_fallback", "ERROR"):
                    self.assertIs(policy.decide(replace(CONNECTION, client=client)).verdict, Verdict.ACCEPT)
            for client in ("64:ff9b:1::c000:201", "::fffe:c000:201", "2002:c000:201::1", "::1"):
                with self.subTest(client):
                    self.assertIsInstance(policy.decide(replace(CONNECTION, client=client)).verdict, Refuse)


class Forks(unittest.TestCase):
    def test_a_child_decides_like_its_parent(self) -> None:
        for backend in BACKENDS:
            for used in (False, True):
                with self.subTest(f"{backend}, used before: {used}"), opened(backend) as policy:
                    if used:
                        policy.decide(CONNECTION)
                    child = os.fork()
                    if child == 0:
                        _exit_with(lambda policy=policy: isinstance(policy.decide(CONNECTION, ENVELOPE, MESSAGE, FAILED).verdict, Refuse))
                    self.assertEqual(os.waitpid(child, 0)[1], 0)
                    self.assertIsInstance(policy.decide(CONNECTION, ENVELOPE, MESSAGE, FAILED).verdict, Refuse)

    def test_a_child_without_the_component_lets_mail_pass(self) -> None:
        """As in an upgrade, where the file is away for a moment. The C library reads it again; the other way has it in memory."""

        def is_as_expected(policy: Policy, backend: str) -> bool:
            decision = policy.decide(CONNECTION, ENVELOPE, MESSAGE, FAILED)
            if backend == "wasmtime":
                return isinstance(decision.verdict, Refuse)
            return decision.verdict is Verdict.ACCEPT and "after the fork" in (decision.failure or "")

        for backend in BACKENDS:
            with self.subTest(backend), tempfile.TemporaryDirectory() as folder:
                component = Path(folder) / "component.wasm"
                shutil.copy(Path(smtp_fallback.__file__).with_name("smtp-fallback-policy.wasm"), component)
                with opened(backend, component=component) as policy:
                    policy.decide(CONNECTION)
                    component.unlink()
                    child = os.fork()
                    if child == 0:
                        _exit_with(lambda policy=policy, backend=backend: is_as_expected(policy, backend))
                    self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_no_thread_is_there_before_the_first_call(self) -> None:
        """In a process of its own, which has compiled no component yet."""
        for backend in BACKENDS:
            count = f"import os, smtp_fallback; smtp_fallback.Policy({{}}, backend={backend!r}); print(len(os.listdir('/proc/self/task')))"
            with self.subTest(backend):
                done = subprocess.run([sys.executable, "-c", count], capture_output=True, encoding="utf-8", timeout=60, check=True)
                self.assertEqual(done.stdout, "1\n")

    def test_a_fork_in_the_middle_of_calls(self) -> None:
        """A thread that is no more held the lock."""
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend) as policy:
                done = threading.Event()

                def decide(policy: Policy = policy, done: threading.Event = done) -> None:
                    while not done.is_set():
                        policy.decide(CONNECTION, ENVELOPE, MESSAGE, FAILED)

                thread = threading.Thread(target=decide)
                thread.start()
                try:
                    for _ in range(20):
                        child = os.fork()
                        if child == 0:
                            _exit_with(lambda policy=policy: policy.decide(CONNECTION).failure is None)
                        self.assertEqual(os.waitpid(child, 0)[1], 0)
                finally:
                    done.set()
                    thread.join(60)


def _exit_with(is_good: Any) -> None:
    """Ends the child: with a signal where it hangs."""
    import signal

    signal.alarm(30)
    status = 1
    try:
        status = 0 if is_good() else 2
    finally:
        os._exit(status)


def _decided(policy: Policy) -> Decision:
    return policy.decide(CONNECTION, ENVELOPE, MESSAGE, FAILED)


def _with(**fields: Any) -> Connection:
    return replace(CONNECTION, **fields)


def _record(value: Any) -> StoredRecord:
    with opened("wasmtime") as policy:
        key = policy.keys(CONNECTION)[0]
    return StoredRecord(key=key, value=value)


def _signed(result: Any) -> AuthResults:
    return AuthResults(dkim=[Dkim(result=result, domain="example.net")])


if __name__ == "__main__":
    unittest.main()
