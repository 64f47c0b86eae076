"""What a policy does, on each backend."""

from __future__ import annotations

import pickle
import threading
import unittest
from dataclasses import FrozenInstanceError, replace
from ipaddress import ip_address

from backends import BACKENDS, CONNECTION, ENVELOPE, FAILED, MESSAGE, PASSED, opened
from smtp_fallback import (
    AddressError,
    Arc,
    AuthResult,
    Check,
    Connection,
    Decision,
    Envelope,
    Key,
    KeyKind,
    Mode,
    Note,
    OtherNote,
    Policy,
    PolicyError,
    Reason,
    RecordError,
    Refuse,
    Stage,
    StoredRecord,
    Tls,
    Verdict,
    Verified,
)


class OnEachBackend(unittest.TestCase):
    def test_a_failed_mail_is_refused_and_an_authenticated_one_accepted(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend) as policy:
                refused = policy.decide(CONNECTION, ENVELOPE, MESSAGE, FAILED)
                match refused.verdict:
                    case Refuse(reply):
                        self.assertEqual((reply.code, reply.enhanced_code, reply.close), (421, "4.4.8", True))
                    case Verdict.ACCEPT | Verdict.CONTINUE:
                        self.fail(f"{refused}")
                self.assertIs(refused.reason, Reason.UNAUTHENTICATED)
                accepted = policy.decide(CONNECTION, ENVELOPE, MESSAGE, PASSED)
                self.assertIs(accepted.verdict, Verdict.ACCEPT)
                self.assertEqual(accepted.authenticated_domains, ("example.net",))
                self.assertIsNone(accepted.failure)

    def test_the_summary_is_that_of_the_policy_in_force(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend, None) as policy:
                self.assertIsNone(policy.summary)
                self.assertIs(policy.decide(CONNECTION).reason, Reason.NO_POLICY)
                summary = policy.configure({"mode": "observe", "require": "arc", "trusted_sealers": ["example.com"]})
                self.assertEqual((summary.mode, summary.checks), (Mode.OBSERVE, (Check.ARC,)))
                with self.assertRaises(PolicyError) as caught:
                    policy.configure('{"mode": "watch",\n "url": 1}')
                self.assertEqual([fault.pointer for fault in caught.exception.errors], ["/mode", "/url"])
                self.assertIn("line 2, column 9: /url: found 1, expected", str(caught.exception))
                self.assertEqual(policy.summary, summary)
                results = replace(FAILED, arc=Arc(result=AuthResult.NONE, sealers=()))
                decision = policy.decide(CONNECTION, ENVELOPE, MESSAGE, results)
                self.assertIs(decision.verdict, Verdict.ACCEPT)
                self.assertIsInstance(decision.would, Refuse)

    def test_records_lead_to_a_penalty(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend, {"penalty": {"jitter_percent": 0, "probe_one_in": 0}}) as policy:
                kept: dict[Key, bytes] = {}
                for number in range(8):
                    message = replace(MESSAGE, message_id=f"<{number}@example.net>")
                    connection = replace(CONNECTION, now=CONNECTION.now + 3600 * number, records=())
                    keys = policy.keys(connection, ENVELOPE, message)
                    records = [StoredRecord(key=key, value=kept[key]) for key in keys if key in kept]
                    decision = policy.decide(replace(connection, records=records), ENVELOPE, message, FAILED)
                    kept |= {record.key: record.value for record in decision.records}
                network = next(key for key in kept if key.kind is KeyKind.NETWORK)
                record = StoredRecord(key=network, value=kept[network])
                greeting = Connection(stage=Stage.GREETING, client=CONNECTION.client, now=connection.now + 1, records=[record])
                self.assertIs(policy.decide(greeting).reason, Reason.PENALTY)
                self.assertIn("(penalty)", policy.explain(greeting))
                self.assertGreater(policy.inspect(record)["evidence"]["failed"], 5)

    def test_addresses_may_be_objects_or_as_mail_servers_write_them(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend) as policy:
                plain = policy.decide(CONNECTION, ENVELOPE, MESSAGE, FAILED)
                for client in (ip_address("2001:db8::25"), "[IPv6:2001:DB8::25]", "2001:db8:0::25%eth0"):
                    self.assertEqual(policy.decide(replace(CONNECTION, client=client), ENVELOPE, MESSAGE, FAILED), plain)
                for client in (ip_address("192.0.2.1"), "192.0.2.1", "::ffff:192.0.2.1", "64:ff9b::c000:201"):
                    self.assertIs(policy.decide(replace(CONNECTION, client=client)).reason, Reason.IPV4)
                self.assertEqual(policy.parse_address("[IPv6:2001:DB8::1]"), "2001:db8::1")
                with self.assertRaisesRegex(AddressError, "expected one such as 192.0.2.1"):
                    policy.parse_address("example.org")

    def test_octets_that_are_no_unicode_are_those_of_hosts_in_rust(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend) as policy:
                raw = b"<\xff\xfe1@example.net>"
                messages = [raw.decode("utf-8", "surrogateescape"), raw.decode("utf-8", "replace")]
                keys = [policy.keys(CONNECTION, ENVELOPE, replace(MESSAGE, message_id=text)) for text in messages]
                self.assertEqual(keys[0], keys[1])
                self.assertNotEqual(keys[0], policy.keys(CONNECTION, ENVELOPE, MESSAGE))
                # A high surrogate alone stands for no octet, and spoils none that does.
                halves = ["<\ud800\udcff@x>", "<\ufffd\ufffd@x>", "<??@x>"]
                keys = [policy.keys(CONNECTION, ENVELOPE, replace(MESSAGE, message_id=text)) for text in halves]
                self.assertEqual(keys[0], keys[1])
                self.assertNotEqual(keys[0], keys[2])
                self.assertEqual(policy.parse_authentication_results(["mx.example; spf=pass \udcff"], ["other"]).dkim, None)

    def test_tls_with_names(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend, {"require": "tls"}) as policy:
                reasons = [
                    policy.decide(replace(CONNECTION, tls=tls), ENVELOPE, MESSAGE, FAILED).reason
                    for tls in (Tls.NONE, Tls.ENCRYPTED, Verified(["mail.example.net"]))
                ]
                self.assertEqual(reasons, [Reason.UNAUTHENTICATED, Reason.UNAUTHENTICATED, Reason.AUTHENTICATED])

    def test_authentication_results_are_those_that_decide_takes(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend) as policy:
                fields = ["mx.example; spf=pass smtp.mailfrom=alice@example.net; dkim=none"]
                results = policy.parse_authentication_results(fields, ["mx.example"])
                self.assertIs(policy.decide(CONNECTION, ENVELOPE, MESSAGE, results).verdict, Verdict.ACCEPT)

    def test_what_is_no_record_is_said(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend) as policy:
                key = Key(kind=KeyKind.NETWORK, address="2001:db8::", prefix_length=64)
                with self.assertRaisesRegex(RecordError, "no network record"):
                    policy.inspect(StoredRecord(key=key, value=b"\xff"))
                record = StoredRecord(key=key, value=b"\xff" * 40)
                notes = policy.decide(replace(CONNECTION, records=[record]), ENVELOPE, MESSAGE, FAILED).notes
                self.assertIn(Note.MALFORMED_RECORD, notes)

    def test_what_the_component_says_of_itself(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend, None) as policy:
                self.assertEqual(policy.describe().keyword, "IPV6-IPV4-FALLBACK")
                self.assertIn("penalty", policy.schema()["properties"])
                self.assertEqual(policy.backend, backend)

    def test_eight_threads(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend), opened(backend) as policy:
                wanted = [policy.decide(_numbered(number), ENVELOPE, MESSAGE, FAILED) for number in range(8)]
                wrong: list[Decision] = []

                def decide(number: int, policy: Policy = policy, wanted: list[Decision] = wanted) -> None:
                    for _ in range(25):
                        found = policy.decide(_numbered(number), ENVELOPE, MESSAGE, FAILED)
                        if found != wanted[number]:
                            wrong.append(found)

                threads = [threading.Thread(target=decide, args=(number,)) for number in range(8)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(60)
                    self.assertFalse(thread.is_alive())
                self.assertEqual(wrong, [])

    def test_a_closed_policy_says_so(self) -> None:
        for backend in BACKENDS:
            with self.subTest(backend):
                policy = opened(backend)
                policy.close()
                policy.close()
                with self.assertRaisesRegex(ValueError, "closed"):
                    policy.decide(CONNECTION)
                with self.assertRaisesRegex(ValueError, "closed"):
                    policy.configure({})
                self.assertIsNotNone(policy.summary)


def _numbered(number: int) -> Connection:
    return replace(CONNECTION, client=f"2001:db8:{number}::25")


class Values(unittest.TestCase):
    def test_they_are_frozen_and_can_be_pickled(self) -> None:
        with self.assertRaises(FrozenInstanceError):
            CONNECTION.now = 1  # type: ignore[misc]
        with opened("wasmtime") as policy:
            decision = policy.decide(CONNECTION, ENVELOPE, MESSAGE, FAILED)
        self.assertEqual(pickle.loads(pickle.dumps(decision)), decision)
        self.assertEqual(len({record.key for record in decision.records}), len(decision.records))
        self.assertNotEqual(OtherNote("probe"), Note.PROBE)

    def test_the_defaults_are_those_of_hosts_in_rust(self) -> None:
        connection = Connection(stage=Stage.GREETING, client="::1")
        self.assertTrue(connection.reachable_over_ipv4)
        self.assertFalse(connection.ipv4_arrivals_visible or connection.listener_offers or connection.authenticated)
        self.assertEqual((connection.tls, connection.now, connection.records), (Tls.NONE, 0, ()))
        with self.assertRaises(TypeError):
            Envelope(mail_from="")  # type: ignore[call-arg]

    def test_a_policy_error_can_be_pickled(self) -> None:
        with self.assertRaises(PolicyError) as caught:
            opened("wasmtime", "[]")
        again = pickle.loads(pickle.dumps(caught.exception))
        self.assertEqual((str(again), again.errors), (str(caught.exception), caught.exception.errors))


if __name__ == "__main__":
    unittest.main()
