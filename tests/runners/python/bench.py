"""What a pair of `keys` and `decide` costs, and whether memory grows."""

from __future__ import annotations

import json
import time
from pathlib import Path

from smtp_fallback import Policy, Refuse, Verdict
from vectors import Open, case

WARM_UP = 1000
"""The most pairs before the clock starts; after as many, memory is looked at for the first time."""


def bench(open_policy: Open, file: Path, count: int) -> None:
    """Prints a line for each case, with the mean of a pair in nanoseconds, and one for memory in KiB."""
    cases = json.loads(file.read_text(encoding="utf-8"))
    policy = open_policy(cases["policy-json"], secret=cases["secret"].encode())
    pairs, warm = 0, 0
    for each in cases["cases"]:
        connection, envelope, message, _ = case({name: value for name, value in each["keys"].items() if name != "auth-results"})
        decided = case(each["decide"])
        check(policy, each["name"], policy.decide(*decided).verdict)
        begin = 0
        warm_up = min(count // 10, WARM_UP)
        for number in range(warm_up + count):
            if number == warm_up:
                begin = time.perf_counter_ns()
            policy.keys(connection, envelope, message)
            policy.decide(*decided)
            pairs += 1
            if pairs == WARM_UP:
                warm = resident()
        print(each["name"], (time.perf_counter_ns() - begin) // count, flush=True)
    print("memory", warm or resident(), resident())


def check(policy: Policy, name: str, verdict: Verdict | Refuse) -> None:
    is_expected = isinstance(verdict, Refuse) if name == "refusal" else verdict == Verdict.ACCEPT
    if not is_expected:
        raise SystemExit(f"{name}: the verdict is {verdict}, by {policy.backend}")


def resident() -> int:
    """Of this process, in KiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1])
