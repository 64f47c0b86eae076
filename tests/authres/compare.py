#!/usr/bin/env python3
"""Reads the inputs of tests/vectors/authentication-results with authres, too, and compares with what the vectors expect of the module.

Each difference has to be explained in differences.json. The exit status is 1 when one is not, when one is another than is written there, or when
one that is written there is gone. README.md says how to run it."""

import json
import pathlib
import re
import signal
import sys

import authres
import authres.arc
import authres.dmarc

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE.parent / "vectors" / "authentication-results"
DIFFERENCES = HERE / "differences.json"

# The version whose reading differences.json explains.
VERSION = "1.2.0"

CONTEXT = authres.FeatureContext(authres.dmarc, authres.arc)
NAME = "authentication-results:"


def read_field(text):
    """The authserv-id and the results of one field; the id is None where authres takes it for no such field, or for a wrong one."""
    # authres wants fields that are unfolded (RFC 5322 section 2.2.3).
    text = re.sub(r"\r?\n(?=[ \t])", "", text)
    try:
        if text.lower().startswith(NAME):
            header = CONTEXT.parse(text)
        else:
            header = CONTEXT.parse_value(text)
    except authres.AuthResError as error:
        return None, type(error).__name__
    return header.authserv_id, header.results


def values(result, kind, name):
    wanted = (kind, name)
    found = [p.value for p in result.properties if (str(p.type).lower(), str(p.name).lower()) == wanted]
    return ["" if value is None else str(value) for value in found]


def value(result, kind, name):
    return next(iter(values(result, kind, name)), None)


def domain(address):
    return address.rpartition("@")[2].lower().removesuffix(".") if address else ""


def subject(result):
    """What a result is about, by the rules of RFC 8601 and nothing more."""
    method = str(result.method).lower()
    if method == "spf":
        mail_from = value(result, "smtp", "mailfrom")
        helo = value(result, "smtp", "helo")
        return f"spf-helo {domain(helo)}" if not mail_from and helo else f"spf-mail-from {domain(mail_from)}"
    if method == "dkim":
        signer = value(result, "header", "d")
        return f"dkim {(signer or domain(value(result, 'header', 'i'))).lower().removesuffix('.')}"
    if method == "dmarc":
        return f"dmarc {domain(value(result, 'header', 'from'))}"
    if method == "arc":
        chain = value(result, "arc", "chain") or ""
        return f"arc {','.join(reversed(chain.split(':'))).lower()}"
    return "iprev" if method == "iprev" else None


def by_authres(step):
    """The results of trusted fields as authres reads them, each on its own."""
    trusted = {name.lower() for name in step["input"]["trusted-ids"]}
    found = set()
    for text in step["input"]["headers"]:
        name, results = read_field(text)
        if name is None or str(name).lower() not in trusted:
            continue
        for result in results:
            about = subject(result) if hasattr(result, "method") else None
            if about is not None:
                found.add(f"{about.strip()}: {str(result.result).lower()}")
    return sorted(found)


def by_module(step):
    """What the vector expects of the module, in the same words."""
    expected = step["expect"]
    found = set()
    for name in ("spf-mail-from", "spf-helo", "dmarc"):
        if expected.get(name):
            found.add(f"{name} {expected[name]['domain']}".strip() + f": {expected[name]['result']}")
    for signature in expected.get("dkim") or []:
        found.add(f"dkim {signature['domain']}".strip() + f": {signature['result']}")
    if expected.get("arc"):
        found.add(f"arc {','.join(expected['arc']['sealers'])}".strip() + f": {expected['arc']['result']}")
    if expected.get("iprev"):
        found.add(f"iprev: {expected['iprev']['result']}")
    return sorted(found)


def differences():
    found = {}
    count = 0
    for path in sorted(VECTORS.glob("*.json")):
        for number, step in enumerate(json.loads(path.read_text(encoding="utf-8"))["steps"], 1):
            count += 1
            module, other = by_module(step), by_authres(step)
            if module != other:
                name = path.stem if number == 1 else f"{path.stem} {number}"
                found[name] = {"module": module, "authres": other}
    return count, found


def main():
    installed = authres.__version__
    if installed != VERSION:
        sys.exit(f"authres {installed} is installed; differences.json is about {VERSION}: pip install authres=={VERSION}")
    # Reading takes a second; a field on which authres goes round for ever is a finding, too.
    signal.alarm(60)
    count, found = differences()
    known = json.loads(DIFFERENCES.read_text(encoding="utf-8"))
    if "--print" in sys.argv[1:]:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    wrong = []
    for name, difference in found.items():
        explained = known.get(name, {})
        if not explained.get("why") or explained.get("right") not in ("module", "authres", "both"):
            wrong.append(f"{name}: not explained: {json.dumps(difference, ensure_ascii=False)}")
        elif {key: explained.get(key) for key in difference} != difference:
            wrong.append(f"{name}: another difference than is explained: {json.dumps(difference, ensure_ascii=False)}")
    wrong += [f"{name}: explained, but there is no difference any more" for name in known if name not in found]
    for line in wrong:
        print(line)
    if wrong:
        sys.exit(f"{len(wrong)} of {len(found)} differences are not as {DIFFERENCES.name} has them")
    for side in ("module", "authres", "both"):
        names = [name for name in found if known[name]["right"] == side]
        print(f"{side}: right in {len(names)}")
    print(f"{count} inputs read twice, {len(found)} differences, all explained")


if __name__ == "__main__":
    main()
