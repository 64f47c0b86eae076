"""The last look at a reply before it goes out: a component that is wrong, or not the policy, must not harm a mail or a session."""

from __future__ import annotations

import re

from .contract import Connection, Decision, Reason, Refuse, Reply, Stage

_MAX_LINES = 16
_MAX_LINE = 512
"""The most octets of a line, with codes and CRLF (RFC 5321 section 4.5.3.1.5)."""

_ENHANCED_CODE = re.compile(r"[245](\.[0-9]{1,3}){2}", re.ASCII)
_LINE = re.compile(r"[ -~]+")


def mistake(decision: Decision, connection: Connection, is_ipv4: bool) -> str | None:
    """Why a decision's reply must not be sent."""
    return _mistake(decision.verdict.reply, decision.reason, connection, is_ipv4) if isinstance(decision.verdict, Refuse) else None


def would_mistake(decision: Decision, connection: Connection, is_ipv4: bool) -> str | None:
    """The same of what would have been answered."""
    return _mistake(decision.would.reply, decision.reason, connection, is_ipv4) if isinstance(decision.would, Refuse) else None


def _mistake(reply: Reply, reason: Reason, connection: Connection, is_ipv4: bool) -> str | None:
    code, stage = reply.code, connection.stage
    if is_ipv4:
        return "a client that came over IPv4 would be refused"
    if code == 456 and not connection.acknowledged:
        return "code 456 for a client that did not issue the verb"
    if code not in (451, 421, 456) and not (code == 550 and reason == Reason.NEVER_FALLS_BACK):
        return f"code {code} for the reason {reason}; expected 451, 421 or 456, or 550 for never-falls-back"
    if stage == Stage.GREETING and code not in (451, 421) or stage == Stage.EHLO and code != 421:
        return f"code {code} at stage {stage}; expected 451 or 421 at the greeting, 421 after EHLO"
    if not reply.close and (code == 421 or stage == Stage.GREETING):
        return f"code {code} at stage {stage} without closing the connection"
    if reply.close and code == 456:
        return "456 with the connection closed"
    return _text_mistake(reply)


def _text_mistake(reply: Reply) -> str | None:
    enhanced_code = reply.enhanced_code
    if not _ENHANCED_CODE.fullmatch(enhanced_code) or enhanced_code[0] != str(reply.code)[0]:
        return f"enhanced code {enhanced_code[:20]!r}; expected a form such as {reply.code // 100}.4.8"
    if not 1 <= len(reply.lines) <= _MAX_LINES:
        return f"{len(reply.lines)} lines; expected 1 to {_MAX_LINES}"
    codes = len("456-") + len(enhanced_code) + len(" \r\n")
    for number, line in enumerate(reply.lines, 1):
        if not _LINE.fullmatch(line):
            return f"line {number} is empty or not printable ASCII"
        if codes + len(line) > _MAX_LINE:
            return f"line {number} is longer than 512 octets with its codes"
    return None
