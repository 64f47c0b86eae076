# Written by `cargo xtask python` from wit/policy.wit. Do not edit.
"""The types of the contract, with its documentation.

An absent option (`None`) means "not known (yet)", never "no". An empty list means "looked for, nothing found".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

VERSION = "0.1.0"
"""The version of the contract."""

AddressLike = str | IPv4Address | IPv6Address
"""An IP address where one goes in; text as mail servers write it: with brackets, a zone id, Sendmail's `IPv6:` prefix."""


class KeyKind(StrEnum):
    """What a record is about."""

    ADDRESS = "address"
    """One client address, for its own good standing."""
    NETWORK = "network"
    """The client's network, by default its /64: evidence, penalty, capability."""
    BUDGET = "budget"
    """The client's /48, for budgets that many networks share."""
    EXACT = "exact"
    """A mail, by the hash of sender, Message-ID and Date."""
    INFERRED = "inferred"
    """A mail, by the hash of sender and EHLO name only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Names a record. For `exact` and `inferred` the address holds the 128 bits of a keyed hash, and the prefix length is 128."""

    kind: KeyKind
    address: str
    prefix_length: int
    """Significant bits of `address`, 0 to 128; the others are zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """A record as the host keeps it. The host MUST store the value verbatim and MUST NOT interpret it: the module wrote it,
    versioned it, and treats what it cannot read as no record.
    """

    key: Key
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordUpdate:
    """A record that the host should store, by compare-and-set against the value it passed in (or its absence). When another host
    was faster with one of them, the host reads again the records that it has not stored yet, and asks `decide` again with them and,
    in place of what it has stored already, with what it passed in before; of that answer it takes the updates that it has not stored
    yet. So no mail counts twice, and none is lost. It MUST NOT answer the client twice.
    """

    key: Key
    value: bytes
    expires_in: int
    """Seconds from `now` after which the record means nothing and may be dropped."""
    weight: int
    """What it costs to lose this record: a host that is full drops lower weights first."""


class Stage(StrEnum):
    """How far the session has come. The decision is made while the reply to this step is still to be sent."""

    GREETING = "greeting"
    """Before the 220."""
    EHLO = "ehlo"
    """EHLO or HELO was received."""
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    """DATA or the first BDAT was received: the recipients are complete."""
    END_OF_DATA = "end-of-data"
    """The final dot or the last BDAT chunk was received."""


class Listener(StrEnum):
    """The kind of service that the client connected to. Only `mx` is in scope (A18)."""

    MX = "mx"
    SUBMISSION = "submission"
    LMTP = "lmtp"


class Tls(StrEnum):
    """The transport security of the session."""

    NONE = "none"
    ENCRYPTED = "encrypted"


@dataclass(frozen=True, slots=True)
class Verified:
    """Encrypted, and the client's certificate chain was verified; the names are those of the certificate."""

    names: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The session so far. The host fills every field anew at each call."""

    stage: Stage
    client: AddressLike
    """The true client address: behind a proxy, what the proxy says."""
    listener: Listener = Listener.MX
    ehlo_name: str | None = None
    """The argument of the last EHLO or HELO; absent before it."""
    tls: Tls | Verified = Tls.NONE
    authenticated: bool = False
    """The client has authenticated by SMTP AUTH."""
    listener_offers: bool = False
    """This listener is configured to announce the extension."""
    keyword_shown: bool = False
    """The keyword was in the reply to the last EHLO: false before it, after HELO, and after STARTTLS until the next EHLO."""
    acknowledged: bool = False
    """The client has issued the verb since the last EHLO, and got 250."""
    reachable_over_ipv4: bool = True
    """The same mail would be taken over IPv4 (configured, or probed by the host); hosts default to true. When false,
    nothing is refused (A20).
    """
    ipv4_arrivals_visible: bool = False
    """This host, or its store, also serves the IPv4 listeners, so that a mail's arrival over IPv4 can be seen."""
    now: int = 0
    """Seconds since 1970-01-01T00:00:00Z."""
    nonce: int = 0
    """Random, drawn once per connection, and the same in every call for it."""
    records: Sequence[StoredRecord] = ()
    """The records found under the keys that `keys` named, in any order. A record that was not found is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The transaction's envelope. Absent before MAIL."""

    mail_from: str
    """Without angle brackets; empty for the null sender."""
    recipients: Sequence[str]
    """Those accepted so far; complete from DATA on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What the message says of itself. Absent before the end of data."""

    message_id: str | None = None
    """The Message-ID field, with or without angle brackets; absent when there is none."""
    date: str | None = None
    """The Date field, verbatim; absent when there is none."""
    from_domain: str | None = None
    """The domain of the first From address; absent when there is none."""
    size: int
    """Octets received; 4294967295 for anything larger."""


class AuthResult(StrEnum):
    """A result of an authentication method, in the words of RFC 8601 section 2.7. Only `pass` passes (A27); a word that is
    not listed here is to be passed as `neutral`.
    """

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    POLICY = "policy"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spf:
    """An SPF result (RFC 7208) for one identity."""

    result: AuthResult
    domain: str
    """The domain that was checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dkim:
    """The result of one DKIM signature (RFC 6376)."""

    result: AuthResult
    domain: str
    """The d= tag."""
    selector: str = ""
    """The s= tag; empty when not known."""
    testing: bool = False
    """The key says t=y: the signer is testing, a pass does not count (A28)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dmarc:
    """A DMARC result (RFC 7489)."""

    result: AuthResult
    domain: str
    """The domain of the From field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arc:
    """The result of the whole ARC chain (RFC 8617)."""

    result: AuthResult
    sealers: Sequence[str]
    """The d= tags of the seals, the oldest (i=1) first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Iprev:
    """Whether the client's reverse name leads back to its address (RFC 8601 section 2.7.3, \"iprev\")."""

    result: AuthResult
    name: str | None = None
    """The confirmed name; absent unless the result is `pass`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthResults:
    """The authentication results. Each is absent until it is known."""

    spf_mail_from: Spf | None = None
    spf_helo: Spf | None = None
    """For the EHLO or HELO name. It counts for the null sender only (A28)."""
    dkim: Sequence[Dkim] | None = None
    """One for each signature; empty for an unsigned message."""
    dmarc: Dmarc | None = None
    arc: Arc | None = None
    iprev: Iprev | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply to send instead of the host's own."""

    code: int
    """451, or as the operator chose 421, in place of the greeting; 421, 451 or 456 later; 550 only where the operator chose it."""
    enhanced_code: str
    """Such as \"4.4.8\". A host that does not announce ENHANCEDSTATUSCODES leaves it out after the greeting (R6)."""
    lines: tuple[str, ...]
    """The text of each line, without code and enhanced code, at least one. The first says it all in short: a host that
    can send one line only sends the first. ASCII, and at most 512 octets each with code, enhanced code and CRLF.
    """
    close: bool
    """Send the reply, then close the connection in good order: shut down sending, drain for at most 5 s, close (A4)."""


class Verdict(StrEnum):
    """What the host is to do."""

    CONTINUE = "continue"
    """Go on, and ask again at the next stage. Never the MTA's \"accept everything from here on\"."""
    ACCEPT = "accept"
    """Accept as far as this policy is concerned. At `end-of-data`: this message. Earlier: whatever comes on this connection,
    which need not be asked about again.
    """


@dataclass(frozen=True, slots=True)
class Refuse:
    reply: Reply


class Reason(StrEnum):
    """Why. The word is what logs and metrics show."""

    UNDECIDED = "undecided"
    """Nothing speaks against going on; no more is known at this stage."""
    IPV4 = "ipv4"
    """The client came over IPv4 (P9)."""
    OUT_OF_SCOPE = "out-of-scope"
    """Not an MX listener, or an authenticated session (A18)."""
    NOT_REACHABLE_OVER_IPV4 = "not-reachable-over-ipv4"
    """There is no way back over IPv4 (A20)."""
    EXEMPT_NETWORK = "exempt-network"
    EXEMPT_NAME = "exempt-name"
    EXEMPT_DOMAIN = "exempt-domain"
    EXEMPT_RECIPIENT = "exempt-recipient"
    LET_IN = "let-in"
    """The network of a client that never falls back is let in for a time (A34)."""
    AUTHENTICATED = "authenticated"
    """The requirement is met."""
    UNAUTHENTICATED = "unauthenticated"
    """The requirement cannot be met."""
    DISTRUSTED = "distrusted"
    """It would be met, but only by domains that the policy distrusts (A30)."""
    PENALTY = "penalty"
    """Too much unauthenticated mail came from this network (P6, P12)."""
    NO_EVIDENCE = "no-evidence"
    """No authentication results were given at the end of data (A27)."""
    TEMPORARY_ERROR = "temporary-error"
    """A result that decides had a temporary error or was missing: accepted within the budget (A27)."""
    TEMPORARY_ERROR_BUDGET = "temporary-error-budget"
    """The same, over the budget: 451 4.4.3."""
    NEVER_FALLS_BACK = "never-falls-back"
    """The mail was refused often enough, and the operator chose to reject it (A34)."""
    NO_POLICY = "no-policy"
    """No policy is configured."""


class Note(StrEnum):
    """A remark for logs and metrics that does not change the verdict."""

    PROBE = "probe"
    """This connection passed its network's penalty as a probe (A7)."""
    GOOD_STANDING = "good-standing"
    """This connection passed its network's penalty because of its own good standing (P13)."""
    CAPABLE = "capable"
    """It passed because the network is, or may be, capable of the extension (P6, A5)."""
    PENALTY_BEGINS = "penalty-begins"
    """This message proved that most mail of its network fails: a penalty begins (A6)."""
    PENALTY_RENEWED = "penalty-renewed"
    """The penalty was renewed, as a rule for twice its time (A7)."""
    PENALTY_ENDS = "penalty-ends"
    """A message passed: the penalty ends (A7)."""
    NOT_ROLLED_OUT = "not-rolled-out"
    """The roll-out does not include this network: treated as in observe mode (A35)."""
    MALFORMED_RECORD = "malformed-record"
    """A record could not be read and counted as absent."""
    IPV4_ARRIVALS_NOT_VISIBLE = "ipv4-arrivals-not-visible"
    """The policy rejects clients that never fall back, but arrivals over IPv4 cannot be seen (A34)."""
    NEVER_FALLS_BACK = "never-falls-back"
    """This mail was refused so often, and over such a time, that its client does not fall back; the policy only says so (A34)."""
    LET_IN_BEGINS = "let-in-begins"
    """From now on the network is let in for a time, since its client does not fall back (A34)."""
    LET_IN_USED_UP = "let-in-used-up"
    """The network is let in, but has used up what it may send without authentication in 24 h (A34)."""
    VERB_NOT_BELIEVED = "verb-not-believed"
    """The network issues the verb and does not fall back: for a time its verb does not spare it a refusal at the greeting (A37)."""


@dataclass(frozen=True, slots=True)
class OtherNote:
    """One that this version of the contract does not know."""

    word: str


class MatchKind(StrEnum):
    """How an earlier refusal was recognised."""

    EXACT = "exact"
    """Sender, Message-ID and Date agree."""
    INFERRED = "inferred"
    """Sender and EHLO name agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """This mail was refused before."""

    match_kind: MatchKind
    network: Key
    """The network that it was refused from."""
    seconds: int
    """Since the first refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer of `decide`."""

    verdict: Verdict | Refuse
    reason: Reason
    would: Verdict | Refuse | None = None
    """What would have been answered in enforce mode; present in observe mode, and for networks outside the roll-out (A38, A35). Of
    several refusals of one message, at `data` and at `end-of-data`, enforce mode would have answered with the first.
    """
    authenticated_domains: tuple[str, ...]
    """Domains that SPF, DKIM or DMARC authenticated, in lower case, for the host's domain reputation (P11)."""
    linked: Link | None = None
    """The earlier refusal of this mail, while it was not known to have arrived: at its next refusal, and once when it arrives. Absent
    when there is none.
    """
    notes: tuple[Note | OtherNote, ...]
    records: tuple[RecordUpdate, ...]
    """Store these off the reply's path: the client need not wait for them."""
    failure: str | None = None
    """Why this decision is not the policy's: the component failed, and the mail passes. Absent when all went well. Not part of the contract."""


class Mode(StrEnum):
    """Whether refusals reach the client."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


class Check(StrEnum):
    """An authentication method that a policy can ask for."""

    SPF = "spf"
    DKIM = "dkim"
    DMARC = "dmarc"
    ARC = "arc"
    FCRDNS = "fcrdns"
    TLS = "tls"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyWarning:
    """A setting that is allowed but stricter or riskier than usual (P16)."""

    pointer: str
    """JSON pointer (RFC 6901) to the setting; empty for the whole policy."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The policy that is now in force."""

    mode: Mode
    checks: tuple[Check, ...]
    """The methods whose results can change a decision: a host need not evaluate the others."""
    warnings: tuple[PolicyWarning, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFault:
    """One error in a policy."""

    pointer: str
    """JSON pointer (RFC 6901) to the value; empty for the whole document and for syntax errors."""
    line: int
    """1-based."""
    column: int
    """1-based, in Unicode scalar values."""
    offset: int
    """0-based offset into the UTF-8 text."""
    found: str
    expected: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What this component is."""

    contract: str
    """The version of this contract, such as \"0.1.0\"."""
    keyword: str
    """The EHLO keyword, which is also the verb."""
    defaults: str
    """The policy that `{}` stands for, written out, as JSON."""
