// Written from wit/policy.wit, version 0.1.0, by `cargo xtask npm`.

/** An IP address as text, such as `2001:db8::25` or `192.0.2.25`; whatever `parseAddress` reads will do. */
export type Address = string;

/** What a record is about. */
export type KeyKind =
  /** One client address, for its own good standing. */
  | 'address'
  /** The client's network, by default its /64: evidence, penalty, capability. */
  | 'network'
  /** The client's /48, for budgets that many networks share. */
  | 'budget'
  /** A mail, by the hash of sender, Message-ID and Date. */
  | 'exact'
  /** A mail, by the hash of sender and EHLO name only. */
  | 'inferred';

/** Names a record. For `exact` and `inferred` the address holds the 128 bits of a keyed hash, and the prefix length is 128. */
export interface Key {
  kind: KeyKind;
  address: Address;
  /** Significant bits of `address`, 0 to 128; the others are zero. */
  prefixLength: number;
}

/**
 * A record as the host keeps it. The host MUST store the value verbatim and MUST NOT interpret it: the module wrote it,
 * versioned it, and treats what it cannot read as no record.
 */
export interface StoredRecord {
  key: Key;
  value: Uint8Array | readonly number[];
}

/**
 * A record that the host should store, by compare-and-set against the value it passed in (or its absence). When another host
 * was faster with one of them, the host reads again the records that it has not stored yet, and asks `decide` again with them and,
 * in place of what it has stored already, with what it passed in before; of that answer it takes the updates that it has not stored
 * yet. So no mail counts twice, and none is lost. It MUST NOT answer the client twice.
 */
export interface RecordUpdate {
  key: Key;
  value: Uint8Array;
  /** Seconds from `now` after which the record means nothing and may be dropped. */
  expiresIn: number;
  /** What it costs to lose this record: a host that is full drops lower weights first. */
  weight: number;
}

/** How far the session has come. The decision is made while the reply to this step is still to be sent. */
export type Stage =
  /** Before the 220. */
  | 'greeting'
  /** EHLO or HELO was received. */
  | 'ehlo'
  | 'mail'
  | 'rcpt'
  /** DATA or the first BDAT was received: the recipients are complete. */
  | 'data'
  /** The final dot or the last BDAT chunk was received. */
  | 'end-of-data';

/** The kind of service that the client connected to. Only `mx` is in scope (A18). */
export type Listener =
  | 'mx'
  | 'submission'
  | 'lmtp';

/** The transport security of the session. */
export type Tls =
  | 'none'
  | 'encrypted'
  /** Encrypted, and the client's certificate chain was verified; the names are those of the certificate. */
  | { verified: readonly string[] };

/** The session so far. The host fills every field anew at each call. */
export interface Connection {
  stage: Stage;
  /** The true client address: behind a proxy, what the proxy says. */
  client: Address;
  /** By default 'mx'. */
  listener?: Listener | null;
  /** The argument of the last EHLO or HELO; absent before it. */
  ehloName?: string | null;
  /** By default 'none'. */
  tls?: Tls | null;
  /**
   * The client has authenticated by SMTP AUTH.
   * By default false.
   */
  authenticated?: boolean | null;
  /**
   * This listener is configured to announce the extension.
   * By default false.
   */
  listenerOffers?: boolean | null;
  /**
   * The keyword was in the reply to the last EHLO: false before it, after HELO, and after STARTTLS until the next EHLO.
   * By default false.
   */
  keywordShown?: boolean | null;
  /**
   * The client has issued the verb since the last EHLO, and got 250.
   * By default false.
   */
  acknowledged?: boolean | null;
  /**
   * The same mail would be taken over IPv4 (configured, or probed by the host); hosts default to true. When false,
   * nothing is refused (A20).
   * By default true.
   */
  reachableOverIpv4?: boolean | null;
  /**
   * This host, or its store, also serves the IPv4 listeners, so that a mail's arrival over IPv4 can be seen.
   * By default false.
   */
  ipv4ArrivalsVisible?: boolean | null;
  /**
   * Seconds since 1970-01-01T00:00:00Z.
   * By default 0.
   */
  now?: number | null;
  /**
   * Random, drawn once per connection, and the same in every call for it.
   * By default 0.
   */
  nonce?: number | null;
  /**
   * The records found under the keys that `keys` named, in any order. A record that was not found is left out.
   * By default [].
   */
  records?: readonly StoredRecord[] | null;
}

/** The transaction's envelope. Absent before MAIL. */
export interface Envelope {
  /** Without angle brackets; empty for the null sender. */
  mailFrom: string;
  /** Those accepted so far; complete from DATA on. */
  recipients: readonly string[];
}

/** What the message says of itself. Absent before the end of data. */
export interface Message {
  /** The Message-ID field, with or without angle brackets; absent when there is none. */
  messageId?: string | null;
  /** The Date field, verbatim; absent when there is none. */
  date?: string | null;
  /** The domain of the first From address; absent when there is none. */
  fromDomain?: string | null;
  /** Octets received; 4294967295 for anything larger. */
  size: number;
}

/**
 * A result of an authentication method, in the words of RFC 8601 section 2.7. Only `pass` passes (A27); a word that is
 * not listed here is to be passed as `neutral`.
 */
export type AuthResult =
  | 'none'
  | 'pass'
  | 'fail'
  | 'softfail'
  | 'neutral'
  | 'policy'
  | 'temperror'
  | 'permerror';

/** An SPF result (RFC 7208) for one identity. */
export interface Spf {
  result: AuthResult;
  /** The domain that was checked. */
  domain: string;
}

/** The result of one DKIM signature (RFC 6376). */
export interface Dkim {
  result: AuthResult;
  /** The d= tag. */
  domain: string;
  /**
   * The s= tag; empty when not known.
   * By default ''.
   */
  selector?: string | null;
  /**
   * The key says t=y: the signer is testing, a pass does not count (A28).
   * By default false.
   */
  testing?: boolean | null;
}

/** A DMARC result (RFC 7489). */
export interface Dmarc {
  result: AuthResult;
  /** The domain of the From field. */
  domain: string;
}

/** The result of the whole ARC chain (RFC 8617). */
export interface Arc {
  result: AuthResult;
  /** The d= tags of the seals, the oldest (i=1) first. */
  sealers: readonly string[];
}

/** Whether the client's reverse name leads back to its address (RFC 8601 section 2.7.3, "iprev"). */
export interface Iprev {
  result: AuthResult;
  /** The confirmed name; absent unless the result is `pass`. */
  name?: string | null;
}

/** The authentication results. Each is absent until it is known. */
export interface AuthResults {
  spfMailFrom?: Spf | null;
  /** For the EHLO or HELO name. It counts for the null sender only (A28). */
  spfHelo?: Spf | null;
  /** One for each signature; empty for an unsigned message. */
  dkim?: readonly Dkim[] | null;
  dmarc?: Dmarc | null;
  arc?: Arc | null;
  iprev?: Iprev | null;
}

/** A reply to send instead of the host's own. */
export interface Reply {
  /** 451, or as the operator chose 421, in place of the greeting; 421, 451 or 456 later; 550 only where the operator chose it. */
  code: number;
  /** Such as "4.4.8". A host that does not announce ENHANCEDSTATUSCODES leaves it out after the greeting (R6). */
  enhancedCode: string;
  /**
   * The text of each line, without code and enhanced code, at least one. The first says it all in short: a host that
   * can send one line only sends the first. ASCII, and at most 512 octets each with code, enhanced code and CRLF.
   */
  lines: string[];
  /** Send the reply, then close the connection in good order: shut down sending, drain for at most 5 s, close (A4). */
  close: boolean;
}

/** What the host is to do. */
export type Verdict =
  /** Go on, and ask again at the next stage. Never the MTA's "accept everything from here on". */
  | 'continue'
  /**
   * Accept as far as this policy is concerned. At `end-of-data`: this message. Earlier: whatever comes on this connection,
   * which need not be asked about again.
   */
  | 'accept'
  | { refuse: Reply };

/** Why. The word is what logs and metrics show. */
export type Reason =
  /** Nothing speaks against going on; no more is known at this stage. */
  | 'undecided'
  /** The client came over IPv4 (P9). */
  | 'ipv4'
  /** Not an MX listener, or an authenticated session (A18). */
  | 'out-of-scope'
  /** There is no way back over IPv4 (A20). */
  | 'not-reachable-over-ipv4'
  | 'exempt-network'
  | 'exempt-name'
  | 'exempt-domain'
  | 'exempt-recipient'
  /** The network of a client that never falls back is let in for a time (A34). */
  | 'let-in'
  /** The requirement is met. */
  | 'authenticated'
  /** The requirement cannot be met. */
  | 'unauthenticated'
  /** It would be met, but only by domains that the policy distrusts (A30). */
  | 'distrusted'
  /** Too much unauthenticated mail came from this network (P6, P12). */
  | 'penalty'
  /** No authentication results were given at the end of data (A27). */
  | 'no-evidence'
  /** A result that decides had a temporary error or was missing: accepted within the budget (A27). */
  | 'temporary-error'
  /** The same, over the budget: 451 4.4.3. */
  | 'temporary-error-budget'
  /** The mail was refused often enough, and the operator chose to reject it (A34). */
  | 'never-falls-back'
  /** No policy is configured. */
  | 'no-policy';

/** A remark for logs and metrics that does not change the verdict. */
export type Note =
  /** This connection passed its network's penalty as a probe (A7). */
  | 'probe'
  /** This connection passed its network's penalty because of its own good standing (P13). */
  | 'good-standing'
  /** It passed because the network is, or may be, capable of the extension (P6, A5). */
  | 'capable'
  /** This message proved that most mail of its network fails: a penalty begins (A6). */
  | 'penalty-begins'
  /** The penalty was renewed, as a rule for twice its time (A7). */
  | 'penalty-renewed'
  /** A message passed: the penalty ends (A7). */
  | 'penalty-ends'
  /** The roll-out does not include this network: treated as in observe mode (A35). */
  | 'not-rolled-out'
  /** A record could not be read and counted as absent. */
  | 'malformed-record'
  /** The policy rejects clients that never fall back, but arrivals over IPv4 cannot be seen (A34). */
  | 'ipv4-arrivals-not-visible'
  /** This mail was refused so often, and over such a time, that its client does not fall back; the policy only says so (A34). */
  | 'never-falls-back'
  /** From now on the network is let in for a time, since its client does not fall back (A34). */
  | 'let-in-begins'
  /** The network is let in, but has used up what it may send without authentication in 24 h (A34). */
  | 'let-in-used-up'
  /** The network issues the verb and does not fall back: for a time its verb does not spare it a refusal at the greeting (A37). */
  | 'verb-not-believed'
  /** One that this version of the contract does not know. */
  | { other: string };

/** How an earlier refusal was recognised. */
export type MatchKind =
  /** Sender, Message-ID and Date agree. */
  | 'exact'
  /** Sender and EHLO name agree. */
  | 'inferred';

/** This mail was refused before. */
export interface Link {
  matchKind: MatchKind;
  /** The network that it was refused from. */
  network: Key;
  /** Since the first refusal. */
  seconds: number;
}

/** The answer of `decide`. */
export interface Decision {
  verdict: Verdict;
  reason: Reason;
  /**
   * What would have been answered in enforce mode; present in observe mode, and for networks outside the roll-out (A38, A35). Of
   * several refusals of one message, at `data` and at `end-of-data`, enforce mode would have answered with the first.
   */
  would: Verdict | null;
  /** Domains that SPF, DKIM or DMARC authenticated, in lower case, for the host's domain reputation (P11). */
  authenticatedDomains: string[];
  /**
   * The earlier refusal of this mail, while it was not known to have arrived: at its next refusal, and once when it arrives. Absent
   * when there is none.
   */
  linked: Link | null;
  notes: Note[];
  /** Store these off the reply's path: the client need not wait for them. */
  records: RecordUpdate[];
}

/** Whether refusals reach the client. */
export type Mode =
  | 'observe'
  | 'enforce';

/** An authentication method that a policy can ask for. */
export type Check =
  | 'spf'
  | 'dkim'
  | 'dmarc'
  | 'arc'
  | 'fcrdns'
  | 'tls';

/** A setting that is allowed but stricter or riskier than usual (P16). */
export interface PolicyWarning {
  /** JSON pointer (RFC 6901) to the setting; empty for the whole policy. */
  pointer: string;
  message: string;
}

/** The policy that is now in force. */
export interface Summary {
  mode: Mode;
  /** The methods whose results can change a decision: a host need not evaluate the others. */
  checks: Check[];
  warnings: PolicyWarning[];
}

/** One error in a policy. */
export interface PolicyProblem {
  /** JSON pointer (RFC 6901) to the value; empty for the whole document and for syntax errors. */
  pointer: string;
  /** 1-based. */
  line: number;
  /** 1-based, in Unicode scalar values. */
  column: number;
  /** 0-based offset into the UTF-8 text. */
  offset: number;
  found: string;
  expected: string;
  advice: string;
}

/** What this component is. */
export interface Description {
  /** The version of this contract, such as "0.1.0". */
  contract: string;
  /** The EHLO keyword, which is also the verb. */
  keyword: string;
  /** The policy that `{}` stands for, written out, as JSON. */
  defaults: Record<string, unknown>;
}

/** What a policy is asked. */
export interface Deciding {
  /**
   * The keys whose records `decide` will want. Call it again with the records found, until it names no key that was not named
   * before; two rounds are enough.
   */
  keys(connection: Connection, envelope?: Envelope | null, message?: Message | null): Key[];

  /** Decide. Never fails: without a policy the verdict is `continue`, at the end of data `accept`, with reason `no-policy`. */
  decide(connection: Connection, envelope?: Envelope | null, message?: Message | null, authResults?: AuthResults | null): Decision;

  /** The decision in words, with the path that led to it: for people, of no fixed form. */
  explain(connection: Connection, envelope?: Envelope | null, message?: Message | null, authResults?: AuthResults | null): string;
}
