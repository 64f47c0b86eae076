"""The last look at a reply before it goes out: the cases of the library in Rust."""

from __future__ import annotations

import unittest
from dataclasses import replace

from smtp_fallback import Connection, Decision, Reason, Refuse, Reply, Stage
from smtp_fallback._reply_check import mistake, would_mistake


def reply(code: int) -> Reply:
    return Reply(code=code, enhanced_code=f"{code // 100}.4.8", lines=("Try IPv4",), close=code != 456)


def check(
    reply: Reply,
    stage: Stage = Stage.END_OF_DATA,
    reason: Reason = Reason.UNAUTHENTICATED,
    acknowledged: bool = False,
    is_ipv4: bool = False,
) -> str | None:
    connection = Connection(stage=stage, client="2001:db8::1", acknowledged=acknowledged)
    decision = Decision(verdict=Refuse(reply), reason=reason, authenticated_domains=(), notes=(), records=())
    found = mistake(decision, connection, is_ipv4)
    would = replace(decision, would=Refuse(reply))
    assert would_mistake(would, connection, is_ipv4) == found and would_mistake(decision, connection, is_ipv4) is None
    return found


class ReplyCheck(unittest.TestCase):
    def test_codes(self) -> None:
        for code in (421, 451):
            self.assertIsNone(check(reply(code)))
        for code in (0, 250, 354, 450, 452, 457, 550, 554, 65535):
            self.assertIn(f"code {code} for the reason unauthenticated", str(check(reply(code))))
        self.assertIsNone(check(reply(550), reason=Reason.NEVER_FALLS_BACK))
        self.assertIn("code 554", str(check(reply(554), reason=Reason.NEVER_FALLS_BACK)))

    def test_only_a_client_that_issued_the_verb_gets_456(self) -> None:
        self.assertIn("did not issue the verb", str(check(reply(456))))
        self.assertIsNone(check(reply(456), acknowledged=True))

    def test_no_client_over_ipv4_is_refused(self) -> None:
        self.assertIn("over IPv4", str(check(reply(451), is_ipv4=True)))

    def test_codes_fit_the_stage(self) -> None:
        allowed = {Stage.GREETING: (421, 451), Stage.EHLO: (421,)}
        for stage in Stage:
            for code in (421, 451, 456, 550):
                found = check(reply(code), stage, Reason.NEVER_FALLS_BACK, acknowledged=True)
                self.assertEqual(found is None, code in allowed.get(stage, (421, 451, 456, 550)), f"{code} at {stage}: {found}")

    def test_the_connection_closes_where_the_reply_says_so(self) -> None:
        for code, stage, is_good in (
            (451, Stage.GREETING, False), (421, Stage.EHLO, False), (421, Stage.END_OF_DATA, False), (451, Stage.END_OF_DATA, True),
        ):
            self.assertEqual(check(replace(reply(code), close=False), stage) is None, is_good)
        self.assertEqual(check(replace(reply(456), close=True), acknowledged=True), "456 with the connection closed")

    def test_enhanced_codes(self) -> None:
        for good in ("4.4.8", "4.7.26", "4.0.0", "4.999.999"):
            self.assertIsNone(check(replace(reply(451), enhanced_code=good)))
        for bad in ("", "4", "4.4", "4.4.", "4..8", "4.4.8.1", "4.4.1000", "4.4.x", "4.4.8 ", "4.4.8\n", "4.4.+8", "44.4.8", "5.4.8", "4.4.٨"):
            self.assertIn("expected a form such as 4.4.8", str(check(replace(reply(451), enhanced_code=bad))), bad)

    def test_lines(self) -> None:
        for bad in ("", "a\r\n250 ok", "a\n", "a\r", "a\0b", "tab\t", "\x7f", "café"):
            self.assertEqual(check(replace(reply(451), lines=("first", bad))), "line 2 is empty or not printable ASCII")
        for count, is_good in ((0, False), (1, True), (16, True), (17, False)):
            self.assertEqual(check(replace(reply(451), lines=("text",) * count)) is None, is_good)
        # "451 4.4.8 " and CRLF are 12 octets.
        for length, is_good in ((500, True), (501, False)):
            self.assertEqual(check(replace(reply(451), lines=("x" * length,))) is None, is_good)


if __name__ == "__main__":
    unittest.main()
