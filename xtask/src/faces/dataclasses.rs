//! The contract's types as dataclasses of Python, with its documentation.
//!
//! A record is a frozen dataclass, an enum a `StrEnum` of the contract's words. Of a variant, the cases without a value are a `StrEnum` of its
//! name, and each case with a value is a dataclass beside it, so that `match` reads `case Verdict.ACCEPT:` and `case Refuse(reply):`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::wit::{Case, Contract, Field, Named, Shape, Type};

/// Where it is kept, from the checkout.
pub(crate) const FILE: &str = "bindings/python/smtp_fallback/contract.py";

/// The first lines of a file that this program wrote.
pub(crate) const WRITTEN: &str = "# Written by `cargo xtask python` from wit/policy.wit. Do not edit.\n";

/// Addresses are text in Python.
pub(crate) const ADDRESS: &str = "address";

const HEAD: &str = r#""""The types of the contract, with its documentation.

An absent option (`None`) means "not known (yet)", never "no". An empty list means "looked for, nothing found".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

VERSION = "{version}"
"""The version of the contract."""

AddressLike = str | IPv4Address | IPv6Address
"""An IP address where one goes in; text as mail servers write it: with brackets, a zone id, Sendmail's `IPv6:` prefix."""
"#;

/// Which types cross the border in which direction.
pub(crate) struct Directions {
    /// Part of some argument.
    pub(crate) given: BTreeSet<String>,
    /// Part of some result.
    pub(crate) answered: BTreeSet<String>,
}

impl Directions {
    pub(crate) fn of(contract: &Contract) -> Self {
        let mut directions = Directions { given: BTreeSet::new(), answered: BTreeSet::new() };
        for function in &contract.functions {
            function.parameters.iter().for_each(|(_, ty)| reach(contract, ty, &mut directions.given));
            reach(contract, &function.result, &mut directions.answered);
        }
        directions
    }
}

fn reach(contract: &Contract, ty: &Type, reached: &mut BTreeSet<String>) {
    match ty {
        Type::Bool | Type::Integer(_) | Type::Text | Type::Octets => {}
        Type::List(inner) | Type::Option(inner) => reach(contract, inner, reached),
        Type::Result(ok, err) => {
            reach(contract, ok, reached);
            reach(contract, err, reached);
        }
        Type::Named(name) => {
            if reached.insert(name.clone()) {
                match &named(contract, name).shape {
                    Shape::Record(fields) => fields.iter().for_each(|field| reach(contract, &field.ty, reached)),
                    Shape::Enum(cases) | Shape::Variant(cases) => {
                        cases.iter().filter_map(|case| case.value.as_ref()).for_each(|value| reach(contract, value, reached));
                    }
                }
            }
        }
    }
}

/// The type of this name.
pub(crate) fn named<'a>(contract: &'a Contract, name: &str) -> &'a Named {
    contract.types.iter().find(|each| each.name == name).expect("the parser resolved every name")
}

/// The file.
pub(crate) fn print(contract: &Contract) -> String {
    let directions = Directions::of(contract);
    let mut python = WRITTEN.to_owned() + &HEAD.replace("{version}", &contract.version);
    for each in contract.types.iter().filter(|each| each.name != ADDRESS) {
        match &each.shape {
            Shape::Record(fields) => record(&mut python, contract, &directions, each, fields),
            Shape::Enum(cases) => words(&mut python, each, cases),
            Shape::Variant(cases) => {
                words(&mut python, each, cases);
                for case in cases {
                    if let Some(value) = &case.value {
                        valued(&mut python, contract, &directions, &each.name, case, value);
                    }
                }
            }
        }
    }
    python
}

fn record(python: &mut String, contract: &Contract, directions: &Directions, record: &Named, fields: &[Field]) {
    let name = class(&record.name);
    put(python, format_args!("\n\n@dataclass(frozen=True, slots=True, kw_only=True)\nclass {name}:\n"));
    class_docstring(python, &record.docs);
    for field in fields {
        let ty = annotation(contract, directions, &record.name, &field.ty);
        let default = default(&record.name, field).map(|value| format!(" = {value}")).unwrap_or_default();
        put(python, format_args!("    {}: {ty}{default}\n", snake(&field.name)));
        docstring(python, &field.docs);
    }
    if record.name == "decision" {
        python.push_str("    failure: str | None = None\n");
        docstring(python, FAILURE);
    }
}

/// No part of the contract: what `embed` calls `Decided::failure`.
const FAILURE: &str = "Why this decision is not the policy's: the component failed, and the mail passes. Absent when all went well. Not part of \
                       the contract.";

fn words(python: &mut String, of: &Named, cases: &[Case]) {
    put(python, format_args!("\n\nclass {}(StrEnum):\n", class(&of.name)));
    class_docstring(python, &of.docs);
    for case in cases.iter().filter(|case| case.value.is_none()) {
        put(python, format_args!("    {} = \"{}\"\n", member(&case.name), case.name));
        docstring(python, &case.docs);
    }
}

fn valued(python: &mut String, contract: &Contract, directions: &Directions, variant: &str, case: &Case, value: &Type) {
    let ty = annotation(contract, directions, variant, value);
    put(python, format_args!("\n\n@dataclass(frozen=True, slots=True)\nclass {}:\n", case_class(variant, &case.name)));
    class_docstring(python, &case.docs);
    put(python, format_args!("    {}: {ty}\n", case_field(&case.name, value)));
}

/// The name of the class for a case with a value. "Other" alone would say nothing.
pub(crate) fn case_class(variant: &str, case: &str) -> String {
    if case == "other" { class(&format!("other-{variant}")) } else { class(case) }
}

/// The name of its only field.
pub(crate) fn case_field(case: &str, value: &Type) -> String {
    match value {
        Type::Named(name) => snake(name),
        _ if case == "verified" => "names".to_owned(),
        _ if case == "other" => "word".to_owned(),
        _ => "value".to_owned(),
    }
}

/// What a field is when it is not given: that of `Connection::new` and of the JSON form of `Dkim`; an option is absent.
fn default(record: &str, field: &Field) -> Option<&'static str> {
    match (record, field.name.as_str()) {
        (_, _) if matches!(field.ty, Type::Option(_)) => Some("None"),
        ("connection", "stage" | "client") => None,
        ("connection", "listener") => Some("Listener.MX"),
        ("connection", "tls") => Some("Tls.NONE"),
        ("connection", "reachable-over-ipv4") => Some("True"),
        ("connection", "records") => Some("()"),
        ("dkim", "selector") => Some("\"\""),
        ("connection" | "dkim", _) => match field.ty {
            Type::Bool => Some("False"),
            Type::Integer(_) => Some("0"),
            _ => None,
        },
        _ => None,
    }
}

fn annotation(contract: &Contract, directions: &Directions, of: &str, ty: &Type) -> String {
    let inner = |ty: &Type| annotation(contract, directions, of, ty);
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::Integer(_) => "int".to_owned(),
        Type::Text => "str".to_owned(),
        Type::Octets => "bytes".to_owned(),
        // What comes out is text, which is equal to itself and has a hash.
        Type::Named(name) if name == ADDRESS && directions.answered.contains(of) => "str".to_owned(),
        Type::Named(name) if name == ADDRESS => "AddressLike".to_owned(),
        Type::Named(name) => whole(named(contract, name)).join(" | "),
        Type::List(item) if directions.given.contains(of) => format!("Sequence[{}]", inner(item)),
        Type::List(item) => format!("tuple[{}, ...]", inner(item)),
        Type::Option(value) => format!("{} | None", inner(value)),
        Type::Result(..) => unreachable!("no field of the contract is a result"),
    }
}

/// The classes whose values a type has.
pub(crate) fn whole(of: &Named) -> Vec<String> {
    let mut classes = vec![class(&of.name)];
    if let Shape::Variant(cases) = &of.shape {
        classes.extend(cases.iter().filter(|case| case.value.is_some()).map(|case| case_class(&of.name, &case.name)));
    }
    classes
}

/// `auth-results` is `AuthResults`. `PolicyError` is the exception that carries several of these.
pub(crate) fn class(kebab: &str) -> String {
    if kebab == "policy-error" {
        return "PolicyFault".to_owned();
    }
    kebab
        .split('-')
        .flat_map(|word| word.chars().enumerate().map(|(at, c)| if at == 0 { c.to_ascii_uppercase() } else { c }))
        .collect()
}

pub(crate) fn snake(kebab: &str) -> String {
    kebab.replace('-', "_")
}

pub(crate) fn member(kebab: &str) -> String {
    snake(kebab).to_uppercase()
}

fn class_docstring(python: &mut String, docs: &str) {
    docstring(python, docs);
    if !docs.is_empty() {
        python.push('\n');
    }
}

/// Those of classes and of what stands in them are indented alike.
fn docstring(python: &mut String, docs: &str) {
    let docs: Vec<&str> = docs.lines().collect();
    if docs.is_empty() {
        return;
    }
    let docs = docs.join("\n");
    let docs = docs.replace('\\', "\\\\").replace('"', "\\\"").replace("\n", "\n    ");
    put(python, format_args!("    \"\"\"{docs}{}\"\"\"\n", if docs.contains('\n') { "\n    " } else { "" }));
}

pub(crate) fn put(python: &mut String, text: std::fmt::Arguments<'_>) {
    python.write_fmt(text).expect("a String takes all text");
}
