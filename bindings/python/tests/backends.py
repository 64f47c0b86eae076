"""What the tests share: a session, and the backends that are there."""

from __future__ import annotations

import atexit
import os
import tempfile
from typing import Any, Literal

from smtp_fallback import AuthResult, AuthResults, Connection, Envelope, Message, Policy, Spf, Stage

Backend = Literal["wasmtime", "library"]

BACKENDS: list[Backend] = ["wasmtime"]
if os.environ.get("SMTP_FALLBACK_LIBRARY"):
    BACKENDS.append("library")

CACHE = tempfile.TemporaryDirectory()
"""Of machine code: without it the C library compiles the component for each policy."""
atexit.register(CACHE.cleanup)

SECRET = b"0123456789abcdef"

CONNECTION = Connection(
    stage=Stage.END_OF_DATA, client="2001:db8::25", ehlo_name="mail.example.net", listener_offers=True, now=1_700_000_000, nonce=1
)
ENVELOPE = Envelope(mail_from="alice@example.net", recipients=["bob@example.org"])
MESSAGE = Message(message_id="<1@example.net>", date="Tue, 14 Nov 2023 22:13:20 +0000", from_domain="example.net", size=1000)
FAILED = AuthResults(spf_mail_from=Spf(result=AuthResult.FAIL, domain="example.net"), dkim=())
PASSED = AuthResults(spf_mail_from=Spf(result=AuthResult.PASS, domain="example.net"))


def opened(backend: Backend, policy: Any = "{}", **settings: Any) -> Policy:
    if backend == "library":
        settings = {"cache": CACHE.name} | settings
    # No test is about the time limit unless it says so, and the machine may be busy.
    return Policy(policy, **({"secret": SECRET, "backend": backend, "deadline": 10.0} | settings))
