"""run.py wasmtime|library [bench CASES COUNT]: all vectors through the installed package, also those of published components through
these; or what a decision costs.

The library is the one that SMTP_FALLBACK_LIBRARY names.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import vectors
from bench import bench
from smtp_fallback import Policy


def main(arguments: list[str]) -> int:
    # The time limit is not what is tested here, on a machine that may be busy.
    settings: Any = {"deadline": 10.0}
    match arguments:
        case ["wasmtime"]:
            return run_all("wasmtime", settings)
        case ["library"]:
            # Else it would compile the component anew for each vector.
            with TemporaryDirectory() as cache:
                return run_all("library", {"cache": cache, **settings})
        case ["wasmtime" | "library" as backend, "bench", cases, count]:
            bench(partial(Policy, backend=backend), Path(cases), int(count))
            return 0
    print(__doc__, file=sys.stderr)
    return 2


def run_all(backend: Literal["library", "wasmtime"], settings: dict[str, Any]) -> int:
    open_policy = partial(Policy, backend=backend, **settings)
    failed = run(backend, open_policy, vectors.FOLDER)
    for folder in vectors.frozen():
        component = folder / "smtp-fallback-policy.wasm"
        failed |= run(f"{backend}, component {folder.name}", partial(open_policy, component=component), folder / "vectors")
    return failed


def run(backend: str, open_policy: vectors.Open, folder: Path) -> int:
    begin = time.monotonic()
    count, calls, failures = 0, 0, 0
    for file in vectors.files(folder):
        made, failure = vectors.run(open_policy, file)
        count, calls = count + 1, calls + made
        if failure is not None:
            failures += 1
            print(failure, file=sys.stderr)
    print(f"{backend}: {count - failures} of {count} vectors pass, {calls} calls, {time.monotonic() - begin:.1f} s")
    return 1 if failures or not count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
