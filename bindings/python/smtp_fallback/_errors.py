"""What can go wrong."""

from __future__ import annotations

from .contract import PolicyFault


class SmtpFallbackError(Exception):
    """Any error of this package."""


class PolicyError(SmtpFallbackError):
    """A policy was not taken: all its faults, one a line. The policy before stays in force."""

    def __init__(self, errors: tuple[PolicyFault, ...]) -> None:
        super().__init__("\n".join(_line(error) for error in errors))
        self.errors = errors

    def __reduce__(self) -> tuple[type[PolicyError], tuple[tuple[PolicyFault, ...]]]:
        return (PolicyError, (self.errors,))


class ArgumentError(SmtpFallbackError, TypeError, ValueError):
    """An argument is not what the contract takes: says which, what was found and what was expected."""


class AddressError(SmtpFallbackError, ValueError):
    """`parse_address` was given a text that is no address."""


class RecordError(SmtpFallbackError, ValueError):
    """`inspect` was given octets that are no record."""


class ComponentError(SmtpFallbackError):
    """The component or the C library cannot be loaded, or failed where nothing stands in for its answer."""


class StoreError(SmtpFallbackError):
    """The C library's store cannot be opened as it is set."""


def _line(error: PolicyFault) -> str:
    place = error.pointer or "the policy"
    return f"line {error.line}, column {error.column}: {place}: found {error.found}, expected {error.expected}; {error.advice}"
