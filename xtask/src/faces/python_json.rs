//! The JSON form of the contract's types in Python: writers for what goes in, readers for what comes out.
//!
//! It is on the path of every call, so it is written out, and no type is looked at while mail waits.

use crate::faces::dataclasses::{ADDRESS, Directions, WRITTEN, case_class, case_field, class, member, named, put, snake, whole};
use crate::wit::{Case, Contract, Field, Named, Shape, Type};

/// Where it is kept, from the checkout.
pub(crate) const FILE: &str = "bindings/python/smtp_fallback/_json.py";

const HEAD: &str = r#""""The JSON form of the contract's types: writers for what goes in, readers for what comes out.

A writer raises TypeError, ValueError, KeyError or AttributeError for a value that is not of its type; `_check` says which one it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from json.encoder import encode_basestring as _text
from typing import Any, TypeVar

from .contract import (
"#;

const HELPERS: &str = r#")

_Item = TypeVar("_Item")


def _bool(value: bool) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    raise TypeError("True or False is expected")


def _integer(value: int, bits: int) -> str:
    if value >> bits:
        raise ValueError(f"an integer from 0 to {2**bits - 1} is expected")
    return f"{value:d}"


def _octets(value: bytes) -> str:
    return str(memoryview(value).tolist())


def _address(value: str | IPv4Address | IPv6Address) -> str:
    return _text(str(value) if isinstance(value, (IPv4Address, IPv6Address)) else value)


def _items(values: Sequence[_Item]) -> Sequence[_Item]:
    if isinstance(values, (str, bytes)):
        raise TypeError("a list is expected")
    return values


def _list(items: list[str]) -> str:
    return "[" + ",".join(items) + "]"
"#;

/// The file.
pub(crate) fn print(contract: &Contract) -> String {
    let Directions { given, answered } = Directions::of(contract);
    let mut python = WRITTEN.to_owned() + HEAD;
    let mut classes: Vec<String> = contract.types.iter().filter(|each| each.name != ADDRESS).flat_map(whole).collect();
    // Enums go in as the text that they are.
    let is_written_enum = |each: &Named| matches!(each.shape, Shape::Enum(_)) && !answered.contains(&each.name);
    let unused: Vec<String> = contract.types.iter().filter(|each| is_written_enum(each)).map(|each| class(&each.name)).collect();
    classes.retain(|class| !unused.contains(class));
    classes.sort();
    classes.iter().for_each(|class| put(&mut python, format_args!("    {class},\n")));
    python.push_str(HELPERS);
    widths(&mut python, contract, &given);
    for each in contract.types.iter().filter(|each| each.name != ADDRESS && given.contains(&each.name)) {
        match &each.shape {
            Shape::Record(fields) => write_record(&mut python, contract, each, fields),
            Shape::Variant(cases) => write_variant(&mut python, contract, each, cases),
            Shape::Enum(_) => {}
        }
    }
    for each in contract.types.iter().filter(|each| each.name != ADDRESS && answered.contains(&each.name)) {
        match &each.shape {
            Shape::Record(fields) => read_record(&mut python, contract, each, fields),
            Shape::Variant(cases) => {
                word_table(&mut python, each);
                read_variant(&mut python, contract, each, cases);
            }
            Shape::Enum(_) => word_table(&mut python, each),
        }
    }
    python
}

/// How many bits an integer may have: their types do not tell.
fn widths(python: &mut String, contract: &Contract, given: &std::collections::BTreeSet<String>) {
    python.push_str("\n\nBITS: dict[tuple[type, str], int] = {\n");
    for each in contract.types.iter().filter(|each| each.name != ADDRESS && given.contains(&each.name)) {
        if let Shape::Record(fields) = &each.shape {
            for field in fields {
                if let Type::Integer(bits) = field.ty {
                    put(python, format_args!("    ({}, \"{}\"): {bits},\n", class(&each.name), snake(&field.name)));
                }
            }
        }
    }
    python.push_str("}\n\"\"\"How many bits the integers of arguments have.\"\"\"\n");
}

fn write_record(python: &mut String, contract: &Contract, record: &Named, fields: &[Field]) {
    put(
        python,
        format_args!("\n\ndef write_{}(value: {}) -> str:\n    return \"\".join((\n", snake(&record.name), class(&record.name)),
    );
    for (at, field) in fields.iter().enumerate() {
        let before = if at == 0 { '{' } else { ',' };
        let value = write(contract, &field.ty, &format!("value.{}", snake(&field.name)));
        put(python, format_args!("        '{before}\"{}\":', {value},\n", field.name));
    }
    python.push_str("        \"}\",\n    ))\n");
}

fn write_variant(python: &mut String, contract: &Contract, variant: &Named, cases: &[Case]) {
    put(python, format_args!("\n\ndef write_{}(value: {}) -> str:\n", snake(&variant.name), whole(variant).join(" | ")));
    for case in cases {
        if let Some(ty) = &case.value {
            let value = write(contract, ty, &format!("value.{}", case_field(&case.name, ty)));
            put(python, format_args!("    if isinstance(value, {}):\n", case_class(&variant.name, &case.name)));
            put(python, format_args!("        return '{{\"{}\":' + {value} + \"}}\"\n", case.name));
        }
    }
    python.push_str("    return _text(value)\n");
}

/// An expression for the JSON of this value.
fn write(contract: &Contract, ty: &Type, value: &str) -> String {
    match ty {
        Type::Bool => format!("_bool({value})"),
        Type::Integer(bits) => format!("_integer({value}, {bits})"),
        Type::Text => format!("_text({value})"),
        Type::Octets => format!("_octets({value})"),
        Type::Named(name) if name == ADDRESS => format!("_address({value})"),
        Type::Named(name) => match named(contract, name).shape {
            Shape::Enum(_) => format!("_text({value})"),
            Shape::Record(_) | Shape::Variant(_) => format!("write_{}({value})", snake(name)),
        },
        Type::List(item) => format!("_list([{} for each in _items({value})])", write(contract, item, "each")),
        Type::Option(inner) => format!("\"null\" if {value} is None else {}", write(contract, inner, value)),
        Type::Result(..) => unreachable!("no argument of the contract is a result"),
    }
}

fn word_table(python: &mut String, of: &Named) {
    put(python, format_args!("\n\n_{} = {{each.value: each for each in {}}}\n", member(&of.name), class(&of.name)));
}

fn read_record(python: &mut String, contract: &Contract, record: &Named, fields: &[Field]) {
    let class = class(&record.name);
    put(python, format_args!("\n\ndef read_{}(value: Any) -> {class}:\n    return {class}(\n", snake(&record.name)));
    for field in fields {
        let value = match field.ty {
            Type::Option(_) => format!("value.get(\"{}\")", field.name),
            _ => format!("value[\"{}\"]", field.name),
        };
        put(python, format_args!("        {}={},\n", snake(&field.name), read(contract, &field.ty, &value)));
    }
    if record.name == "decision" {
        python.push_str("        failure=value.get(\"failure\"),\n");
    }
    python.push_str("    )\n");
}

fn read_variant(python: &mut String, contract: &Contract, variant: &Named, cases: &[Case]) {
    put(python, format_args!("\n\ndef read_{}(value: Any) -> {}:\n", snake(&variant.name), whole(variant).join(" | ")));
    python.push_str("    if isinstance(value, str):\n");
    put(python, format_args!("        return _{}[value]\n", member(&variant.name)));
    for case in cases {
        if let Some(ty) = &case.value {
            let value = read(contract, ty, &format!("value[\"{}\"]", case.name));
            put(python, format_args!("    if \"{}\" in value:\n", case.name));
            put(python, format_args!("        return {}({value})\n", case_class(&variant.name, &case.name)));
        }
    }
    put(python, format_args!("    raise KeyError(f\"no {} is {{value!r}}\")\n", variant.name));
}

/// An expression for the value that this JSON stands for.
fn read(contract: &Contract, ty: &Type, value: &str) -> String {
    match ty {
        Type::Bool | Type::Integer(_) | Type::Text => value.to_owned(),
        Type::Octets => format!("bytes({value})"),
        Type::Named(name) if name == ADDRESS => value.to_owned(),
        Type::Named(name) => match named(contract, name).shape {
            Shape::Enum(_) => format!("_{}[{value}]", member(name)),
            Shape::Record(_) | Shape::Variant(_) => format!("read_{}({value})", snake(name)),
        },
        Type::List(item) => match read(contract, item, "each").as_str() {
            "each" => format!("tuple({value})"),
            each => format!("tuple([{each} for each in {value}])"),
        },
        Type::Option(inner) => match read(contract, inner, "each").as_str() {
            "each" => value.to_owned(),
            _ => format!("None if {value} is None else {}", read(contract, inner, value)),
        },
        Type::Result(..) => unreachable!("results are taken apart before"),
    }
}
