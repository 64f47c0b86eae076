"""What only the C library can: keeping records by itself. Without one, that `auto` finds none."""

from __future__ import annotations

import os
import tempfile
import time
import unittest
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from backends import BACKENDS, CONNECTION, ENVELOPE, FAILED, MESSAGE, opened
from smtp_fallback import ArgumentError, ComponentError, Connection, Policy, Reason, Stage, StoreError

NO_DICE = {"penalty": {"jitter_percent": 0, "probe_one_in": 0}}


class Choice(unittest.TestCase):
    def test_auto_takes_the_library_where_there_is_one(self) -> None:
        with patch.dict(os.environ), patch("ctypes.util.find_library", return_value=None) as find:
            os.environ.pop("SMTP_FALLBACK_LIBRARY", None)
            with Policy() as policy:
                self.assertEqual(policy.backend, "wasmtime")
            find.assert_called_with("smtp_fallback")
            with self.assertRaisesRegex(ComponentError, "there is no libsmtp_fallback"):
                Policy(backend="library")
            with self.assertRaisesRegex(ArgumentError, "store and cache are the C library's"):
                Policy(store={"memory": {"records": 1000}})
        if "library" in BACKENDS:
            with Policy() as policy:
                self.assertEqual(policy.backend, "library")

    def test_a_library_that_is_named_and_cannot_be_loaded_is_an_error(self) -> None:
        with patch.dict(os.environ, SMTP_FALLBACK_LIBRARY="/nonexistent.so"), self.assertRaises(ComponentError):
            Policy()


class Store(unittest.TestCase):
    """There where SMTP_FALLBACK_LIBRARY names the library."""

    def test_it_keeps_the_records(self) -> None:
        # A store drops what has expired by the clock when it reads its file.
        now = int(time.time())
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "records"
            for store in ({"memory": {"records": 1000}}, {"file": str(file)}):
                with self.subTest(store), opened("library", NO_DICE, store=store) as policy:
                    for number in range(8):
                        connection = replace(CONNECTION, now=now + number)
                        decision = policy.decide(connection, ENVELOPE, replace(MESSAGE, message_id=f"<{number}@x>"), FAILED)
                        self.assertEqual(decision.records, ())
                    greeting = Connection(stage=Stage.GREETING, client=CONNECTION.client, now=connection.now)
                    self.assertIs(policy.decide(greeting).reason, Reason.PENALTY)
            self.assertTrue(file.exists())
            with opened("library", NO_DICE, store={"file": str(file)}) as policy:
                self.assertIs(policy.decide(greeting).reason, Reason.PENALTY, "it is read again")

    def test_one_that_cannot_be_opened(self) -> None:
        with self.assertRaisesRegex(ArgumentError, "unknown variant `disk`"):
            opened("library", store={"disk": "x"})
        with self.assertRaisesRegex(StoreError, "/nonexistent"):
            opened("library", store={"file": "/nonexistent/records"})


if "library" not in BACKENDS:
    del Store


if __name__ == "__main__":
    unittest.main()
