"""Values of the contract as wasmtime's component API takes and gives them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from wasmtime import Store
from wasmtime import component as wasm

from ._backend import unicode
from .contract import Verified

Lower = Callable[[Any], Any]
"""Turns a value into one that wasmtime takes. Raises TypeError, ValueError or AttributeError for one that is not of its type."""

_VALUED: dict[type, tuple[str, str]] = {Verified: ("verified", "names")}
"""The classes for cases with a value, with the case and the field that holds the value."""

_MAPPED = 0xFFFF << 32
"""::ffff:0:0/96"""

_NAT64 = 0x64FF9B << 96
"""64:ff9b::/96"""


class FixedType:
    """A function's type, read once: wasmtime reads it anew for each call and each value, which takes half of the time of a call."""

    def __init__(self, function: wasm.Func, store: Store) -> None:
        ty = function.type(store)
        self.params = [(name, _fixed(each)) for name, each in ty.params]
        self.result = None if ty.result is None else _fixed(ty.result)


def _fixed(ty: wasm.ValType) -> wasm.ValType:
    """The same type, with its parts kept instead of asked for."""
    parts: dict[str, Any]
    match ty:
        case wasm.RecordType():
            parts = {"fields": [(name, _fixed(each)) for name, each in ty.fields]}
        case wasm.VariantType():
            parts = {"cases": [(name, None if each is None else _fixed(each)) for name, each in ty.cases]}
        case wasm.ListType():
            parts = {"element": _fixed(ty.element)}
        case wasm.OptionType():
            parts = {"payload": _fixed(ty.payload)}
        case wasm.EnumType():
            parts = {"names": ty.names}
        case _:
            return ty
    ty.__class__ = type(type(ty).__name__, (type(ty),), parts)
    return ty


def lowering(ty: wasm.ValType, parse_address: Callable[[str], wasm.Record]) -> Lower:
    """What lowers values to this type. An address that is not plain is read by the component."""
    match ty:
        case wasm.RecordType():
            fields = ty.fields
            if [name for name, _ in fields] == ["w0", "w1", "w2", "w3"]:
                return _address(parse_address)
            return _record([(name, name.replace("-", "_"), lowering(each, parse_address)) for name, each in fields])
        case wasm.VariantType():
            return _variant({name: None if each is None else lowering(each, parse_address) for name, each in ty.cases})
        case wasm.ListType():
            return _octets if isinstance(ty.element, wasm.U8) else _list(lowering(ty.element, parse_address))
        case wasm.OptionType():
            some = lowering(ty.payload, parse_address)
            return lambda value: None if value is None else some(value)
        case wasm.EnumType():
            return _word(frozenset(ty.names))
        case wasm.Bool():
            return _bool
        case wasm.String():
            return _text
        case wasm.U8() | wasm.U16() | wasm.U32() | wasm.U64():
            return _integer(int(type(ty).__name__[1:]))
    raise TypeError(f"the contract has no {type(ty).__name__}")


def _record(fields: list[tuple[str, str, Lower]]) -> Lower:
    def lower(value: Any) -> wasm.Record:
        record = wasm.Record()
        record.__dict__ = {name: each(getattr(value, attribute)) for name, attribute, each in fields}
        return record

    return lower


def _variant(cases: dict[str, Lower | None]) -> Lower:
    def lower(value: Any) -> wasm.Variant:
        if isinstance(value, str):
            if cases.get(value, lower) is not None:
                raise ValueError(f"one of {', '.join(cases)} is expected")
            return wasm.Variant(str(value))
        case, field = _VALUED[type(value)]
        inner = cases[case]
        if inner is None:
            raise TypeError(f"{case} has no value")
        return wasm.Variant(case, inner(getattr(value, field)))

    return lower


def _list(item: Lower) -> Lower:
    def lower(values: Sequence[Any]) -> list[Any]:
        if isinstance(values, (str, bytes)):
            raise TypeError("a list is expected")
        return [item(value) for value in values]

    return lower


def _word(words: frozenset[str]) -> Lower:
    def lower(value: str) -> str:
        if value not in words:
            raise ValueError("a word of the contract is expected")
        return str(value)

    return lower


def _integer(bits: int) -> Lower:
    def lower(value: int) -> int:
        if not isinstance(value, int) or value >> bits:
            raise ValueError(f"an integer from 0 to {2**bits - 1} is expected")
        return value

    return lower


def _bool(value: bool) -> bool:
    if not isinstance(value, bool):
        raise TypeError("a bool is expected")
    return value


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    return value if value.isascii() else unicode(value)


def _octets(value: bytes) -> bytes:
    return memoryview(value).tobytes()


def _address(parse_address: Callable[[str], wasm.Record]) -> Lower:
    def lower(value: str | IPv4Address | IPv6Address) -> wasm.Record:
        if isinstance(value, IPv4Address):
            return _words(_MAPPED | int(value))
        if isinstance(value, IPv6Address):
            return _words(int(value))
        if not isinstance(value, str):
            raise TypeError("an address is expected")
        try:
            return _words(int.from_bytes(socket.inet_pton(socket.AF_INET6, value), "big"))
        except (OSError, ValueError):
            # IPv4, or as Sendmail writes it, or none: the component tells.
            return parse_address(value)

    return lower


def _words(bits: int) -> wasm.Record:
    record = wasm.Record()
    record.__dict__ = {f"w{at}": bits >> 96 - 32 * at & 0xFFFFFFFF for at in range(4)}
    return record


def _bits(record: dict[str, Any]) -> int:
    return int(record["w0"] << 96 | record["w1"] << 64 | record["w2"] << 32 | record["w3"])


def is_ipv4(address: wasm.Record) -> bool:
    """Whether it counts as IPv4: mapped, or behind the well-known NAT64 prefix."""
    return _bits(address.__dict__) >> 32 in (_MAPPED >> 32, _NAT64 >> 32)


def lifted(value: Any) -> Any:
    """What wasmtime gives, in the JSON form, but with octets as they are."""
    if isinstance(value, wasm.Record):
        fields = value.__dict__
        if "w0" in fields:
            return _address_text(_bits(fields))
        return {name: lifted(each) for name, each in fields.items()}
    if isinstance(value, wasm.Variant):
        return value.tag if value.payload is None else {value.tag: lifted(value.payload)}
    if isinstance(value, list):
        return [lifted(each) for each in value]
    return value


def _address_text(bits: int) -> str:
    """RFC 5952, as the component writes addresses in replies; a mapped one as IPv4."""
    return str(IPv4Address(bits & 0xFFFFFFFF) if bits >> 32 == _MAPPED >> 32 else IPv6Address(bits))
