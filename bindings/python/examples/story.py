"""Two mails over IPv6, one authenticated and one not, and where they end."""

import time
from dataclasses import replace

from smtp_fallback import (
    AuthResult, AuthResults, Connection, Decision, Envelope, Key, Message, Policy, Refuse, Spf, Stage, StoredRecord, Verdict,
)

store: dict[Key, bytes] = {}  # Stands for your store. `expires_in` and `weight` of an update say what to drop, and when.


def decide(policy: Policy, connection: Connection, envelope: Envelope, message: Message, results: AuthResults) -> Decision:
    for _ in range(2):  # What is found may name more keys; two rounds are enough.
        keys = policy.keys(connection, envelope, message)
        found = [StoredRecord(key=key, value=store[key]) for key in keys if key in store]
        connection = replace(connection, records=found)
    decision = policy.decide(connection, envelope, message, results)
    for update in decision.records:  # Off the reply's path.
        store[update.key] = update.value
    return decision


with Policy({"url": "https://www.example.org/ipv6-mail"}, secret=b"16 random octets") as policy:
    for result in (AuthResult.PASS, AuthResult.FAIL):
        decision = decide(
            policy,
            Connection(stage=Stage.END_OF_DATA, client="2001:db8::25", ehlo_name="mail.example.net", now=int(time.time())),
            Envelope(mail_from="smith@example.net", recipients=["jones@example.org"]),
            Message(message_id="<1@example.net>", from_domain="example.net", size=2000),
            AuthResults(spf_mail_from=Spf(result=result, domain="example.net"), dkim=[]),
        )
        match decision.verdict:
            case Refuse(reply):
                print(reply.code, reply.enhanced_code, reply.lines[0])
                # … then close the connection if reply.close.
            case Verdict.ACCEPT | Verdict.CONTINUE:
                print(250, "2.0.0", f"accepted: {decision.reason}")
