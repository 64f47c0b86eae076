"""What the README shows is what is there, and runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

import smtp_fallback
from backends import BACKENDS

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")


class Readme(unittest.TestCase):
    def test_the_example_runs_and_prints_what_is_shown(self) -> None:
        example = PACKAGE / "examples" / "story.py"
        self.assertIn(f"```python\n{example.read_text(encoding='utf-8')}```", README)
        environment = {name: value for name, value in os.environ.items() if name != "SMTP_FALLBACK_LIBRARY"}
        for backend in BACKENDS:
            if backend == "library":
                environment = dict(os.environ)
            with self.subTest(backend):
                done = subprocess.run(
                    [sys.executable, example], env=environment, capture_output=True, encoding="utf-8", timeout=60, check=False
                )
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn(f"prints\n\n```\n{done.stdout}```", README)

    def test_all_of_policy_is_told(self) -> None:
        members = [name for name in vars(smtp_fallback.Policy) if not name.startswith("_")]
        self.assertGreater(len(members), 10)
        for name in members:
            self.assertRegex(README, rf"`\.{re.escape(name)}\b", f"{name} is missing in the table")

    def test_all_exceptions_are_told(self) -> None:
        for name in smtp_fallback.__all__:
            value = getattr(smtp_fallback, name)
            if isinstance(value, type) and issubclass(value, Exception):
                self.assertIn(f"`{name}`", README)


class Licences(unittest.TestCase):
    def test_they_are_those_of_the_project(self) -> None:
        """Copies: a source distribution cannot hold links that lead out of it."""
        for name in ("LICENSE-MIT", "LICENSE-APACHE"):
            self.assertEqual((PACKAGE / name).read_bytes(), (PACKAGE.parents[1] / name).read_bytes(), name)


class Names(unittest.TestCase):
    def test_every_type_of_the_contract_can_be_imported(self) -> None:
        named = {name for name, value in vars(smtp_fallback.contract).items() if getattr(value, "__module__", "") == "smtp_fallback.contract"}
        self.assertGreater(len(named), 30)
        self.assertEqual(named - set(smtp_fallback.__all__), set())


if __name__ == "__main__":
    unittest.main()
