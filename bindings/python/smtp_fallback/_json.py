# Written by `cargo xtask python` from wit/policy.wit. Do not edit.
"""The JSON form of the contract's types: writers for what goes in, readers for what comes out.

A writer raises TypeError, ValueError, KeyError or AttributeError for a value that is not of its type; `_check` says which one it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from json.encoder import encode_basestring as _text
from typing import Any, TypeVar

from .contract import (
    Arc,
    AuthResult,
    AuthResults,
    Check,
    Connection,
    Decision,
    Description,
    Dkim,
    Dmarc,
    Envelope,
    Iprev,
    Key,
    KeyKind,
    Link,
    MatchKind,
    Message,
    Mode,
    Note,
    OtherNote,
    PolicyFault,
    PolicyWarning,
    Reason,
    RecordUpdate,
    Refuse,
    Reply,
    Spf,
    StoredRecord,
    Summary,
    Tls,
    Verdict,
    Verified,
)

_Item = TypeVar("_Item")


def _bool(value: bool) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    raise TypeError("True or False is expected")


def _integer(value: int, bits: int) -> str:
    if value >> bits:
        raise ValueError(f"an integer from 0 to {2**bits - 1} is expected")
    return f"{value:d}"


def _octets(value: bytes) -> str:
    return str(memoryview(value).tolist())


def _address(value: str | IPv4Address | IPv6Address) -> str:
    return _text(str(value) if isinstance(value, (IPv4Address, IPv6Address)) else value)


def _items(values: Sequence[_Item]) -> Sequence[_Item]:
    if isinstance(values, (str, bytes)):
        raise TypeError("a list is expected")
    return values


def _list(items: list[str]) -> str:
    return "[" + ",".join(items) + "]"


BITS: dict[tuple[type, str], int] = {
    (Key, "prefix_length"): 8,
    (Connection, "now"): 64,
    (Connection, "nonce"): 32,
    (Message, "size"): 32,
}
"""How many bits the integers of arguments have."""


def write_key(value: Key) -> str:
    return "".join((
        '{"kind":', _text(value.kind),
        ',"address":', _address(value.address),
        ',"prefix-length":', _integer(value.prefix_length, 8),
        "}",
    ))


def write_stored_record(value: StoredRecord) -> str:
    return "".join((
        '{"key":', write_key(value.key),
        ',"value":', _octets(value.value),
        "}",
    ))


def write_tls(value: Tls | Verified) -> str:
    if isinstance(value, Verified):
        return '{"verified":' + _list([_text(each) for each in _items(value.names)]) + "}"
    return _text(value)


def write_connection(value: Connection) -> str:
    return "".join((
        '{"stage":', _text(value.stage),
        ',"client":', _address(value.client),
        ',"listener":', _text(value.listener),
        ',"ehlo-name":', "null" if value.ehlo_name is None else _text(value.ehlo_name),
        ',"tls":', write_tls(value.tls),
        ',"authenticated":', _bool(value.authenticated),
        ',"listener-offers":', _bool(value.listener_offers),
        ',"keyword-shown":', _bool(value.keyword_shown),
        ',"acknowledged":', _bool(value.acknowledged),
        ',"reachable-over-ipv4":', _bool(value.reachable_over_ipv4),
        ',"ipv4-arrivals-visible":', _bool(value.ipv4_arrivals_visible),
        ',"now":', _integer(value.now, 64),
        ',"nonce":', _integer(value.nonce, 32),
        ',"records":', _list([write_stored_record(each) for each in _items(value.records)]),
        "}",
    ))


def write_envelope(value: Envelope) -> str:
    return "".join((
        '{"mail-from":', _text(value.mail_from),
        ',"recipients":', _list([_text(each) for each in _items(value.recipients)]),
        "}",
    ))


def write_message(value: Message) -> str:
    return "".join((
        '{"message-id":', "null" if value.message_id is None else _text(value.message_id),
        ',"date":', "null" if value.date is None else _text(value.date),
        ',"from-domain":', "null" if value.from_domain is None else _text(value.from_domain),
        ',"size":', _integer(value.size, 32),
        "}",
    ))


def write_spf(value: Spf) -> str:
    return "".join((
        '{"result":', _text(value.result),
        ',"domain":', _text(value.domain),
        "}",
    ))


def write_dkim(value: Dkim) -> str:
    return "".join((
        '{"result":', _text(value.result),
        ',"domain":', _text(value.domain),
        ',"selector":', _text(value.selector),
        ',"testing":', _bool(value.testing),
        "}",
    ))


def write_dmarc(value: Dmarc) -> str:
    return "".join((
        '{"result":', _text(value.result),
        ',"domain":', _text(value.domain),
        "}",
    ))


def write_arc(value: Arc) -> str:
    return "".join((
        '{"result":', _text(value.result),
        ',"sealers":', _list([_text(each) for each in _items(value.sealers)]),
        "}",
    ))


def write_iprev(value: Iprev) -> str:
    return "".join((
        '{"result":', _text(value.result),
        ',"name":', "null" if value.name is None else _text(value.name),
        "}",
    ))


def write_auth_results(value: AuthResults) -> str:
    return "".join((
        '{"spf-mail-from":', "null" if value.spf_mail_from is None else write_spf(value.spf_mail_from),
        ',"spf-helo":', "null" if value.spf_helo is None else write_spf(value.spf_helo),
        ',"dkim":', "null" if value.dkim is None else _list([write_dkim(each) for each in _items(value.dkim)]),
        ',"dmarc":', "null" if value.dmarc is None else write_dmarc(value.dmarc),
        ',"arc":', "null" if value.arc is None else write_arc(value.arc),
        ',"iprev":', "null" if value.iprev is None else write_iprev(value.iprev),
        "}",
    ))


_KEY_KIND = {each.value: each for each in KeyKind}


def read_key(value: Any) -> Key:
    return Key(
        kind=_KEY_KIND[value["kind"]],
        address=value["address"],
        prefix_length=value["prefix-length"],
    )


def read_record_update(value: Any) -> RecordUpdate:
    return RecordUpdate(
        key=read_key(value["key"]),
        value=bytes(value["value"]),
        expires_in=value["expires-in"],
        weight=value["weight"],
    )


_AUTH_RESULT = {each.value: each for each in AuthResult}


def read_spf(value: Any) -> Spf:
    return Spf(
        result=_AUTH_RESULT[value["result"]],
        domain=value["domain"],
    )


def read_dkim(value: Any) -> Dkim:
    return Dkim(
        result=_AUTH_RESULT[value["result"]],
        domain=value["domain"],
        selector=value["selector"],
        testing=value["testing"],
    )


def read_dmarc(value: Any) -> Dmarc:
    return Dmarc(
        result=_AUTH_RESULT[value["result"]],
        domain=value["domain"],
    )


def read_arc(value: Any) -> Arc:
    return Arc(
        result=_AUTH_RESULT[value["result"]],
        sealers=tuple(value["sealers"]),
    )


def read_iprev(value: Any) -> Iprev:
    return Iprev(
        result=_AUTH_RESULT[value["result"]],
        name=value.get("name"),
    )


def read_auth_results(value: Any) -> AuthResults:
    return AuthResults(
        spf_mail_from=None if value.get("spf-mail-from") is None else read_spf(value.get("spf-mail-from")),
        spf_helo=None if value.get("spf-helo") is None else read_spf(value.get("spf-helo")),
        dkim=None if value.get("dkim") is None else tuple([read_dkim(each) for each in value.get("dkim")]),
        dmarc=None if value.get("dmarc") is None else read_dmarc(value.get("dmarc")),
        arc=None if value.get("arc") is None else read_arc(value.get("arc")),
        iprev=None if value.get("iprev") is None else read_iprev(value.get("iprev")),
    )


def read_reply(value: Any) -> Reply:
    return Reply(
        code=value["code"],
        enhanced_code=value["enhanced-code"],
        lines=tuple(value["lines"]),
        close=value["close"],
    )


_VERDICT = {each.value: each for each in Verdict}


def read_verdict(value: Any) -> Verdict | Refuse:
    if isinstance(value, str):
        return _VERDICT[value]
    if "refuse" in value:
        return Refuse(read_reply(value["refuse"]))
    raise KeyError(f"no verdict is {value!r}")


_REASON = {each.value: each for each in Reason}


_NOTE = {each.value: each for each in Note}


def read_note(value: Any) -> Note | OtherNote:
    if isinstance(value, str):
        return _NOTE[value]
    if "other" in value:
        return OtherNote(value["other"])
    raise KeyError(f"no note is {value!r}")


_MATCH_KIND = {each.value: each for each in MatchKind}


def read_link(value: Any) -> Link:
    return Link(
        match_kind=_MATCH_KIND[value["match-kind"]],
        network=read_key(value["network"]),
        seconds=value["seconds"],
    )


def read_decision(value: Any) -> Decision:
    return Decision(
        verdict=read_verdict(value["verdict"]),
        reason=_REASON[value["reason"]],
        would=None if value.get("would") is None else read_verdict(value.get("would")),
        authenticated_domains=tuple(value["authenticated-domains"]),
        linked=None if value.get("linked") is None else read_link(value.get("linked")),
        notes=tuple([read_note(each) for each in value["notes"]]),
        records=tuple([read_record_update(each) for each in value["records"]]),
        failure=value.get("failure"),
    )


_MODE = {each.value: each for each in Mode}


_CHECK = {each.value: each for each in Check}


def read_policy_warning(value: Any) -> PolicyWarning:
    return PolicyWarning(
        pointer=value["pointer"],
        message=value["message"],
    )


def read_summary(value: Any) -> Summary:
    return Summary(
        mode=_MODE[value["mode"]],
        checks=tuple([_CHECK[each] for each in value["checks"]]),
        warnings=tuple([read_policy_warning(each) for each in value["warnings"]]),
    )


def read_policy_error(value: Any) -> PolicyFault:
    return PolicyFault(
        pointer=value["pointer"],
        line=value["line"],
        column=value["column"],
        offset=value["offset"],
        found=value["found"],
        expected=value["expected"],
        advice=value["advice"],
    )


def read_description(value: Any) -> Description:
    return Description(
        contract=value["contract"],
        keyword=value["keyword"],
        defaults=value["defaults"],
    )
