//! `cargo xtask bench size`: what the octets of the component are for, and what it takes to start it.
//!
//! The shipped component has no names, so a second one is built that differs in nothing but that, and each function is counted for the module in
//! whose name it is. What the compiler put into its callers is counted for them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use wasmparser::{KnownCustom, Name, Parser, Payload};

use crate::place::Place;
use crate::{Failure, component, toolchain};

/// Which beginnings of a function's path belong to which group; the first that fits.
const GROUPS: &[(&str, &[&str])] = &[
    ("policy: reading and checking it", &["smtp_fallback_policy::policy", "smtp_fallback_policy::module::Module::configure"]),
    ("records: their octets, inspect", &["smtp_fallback_policy::record", "smtp_fallback_policy::module::inspect"]),
    ("Authentication-Results", &["smtp_fallback_policy::authentication_results"]),
    ("explain", &["smtp_fallback_policy::explain", "smtp_fallback_policy::module::Module::explain"]),
    (
        "addresses",
        &["smtp_fallback_policy::address", "smtp_fallback_policy::network", "smtp_fallback_policy::module::parse_address"],
    ),
    ("decide, keys, replies", &["smtp_fallback_policy", "siphasher"]),
    ("allocator", &["smtp_fallback_component::allocator", "__rust", "__rdl", "__rg"]),
    ("border: the contract's types", &["smtp_fallback_component", "wit_bindgen", "cabi_", "smtp-fallback:policy/", "__wasm"]),
    ("Rust's library: formatting", &["core::fmt", "alloc::fmt"]),
];

/// Whatever else: the library's own paths, what it does for primitive types, the compiler's helpers.
const LIBRARY: &str = "Rust's library: all else";

/// Texts that a component holds as they are, by their beginning.
const TEXTS: [(&str, &str); 2] = [("text: the policy's schema", r#"{"$schema""#), ("text: the policy's defaults", r#"{"mode":"#)];

/// Prints both tables. `bench` was built.
pub(super) fn run(place: &Place, bench: &Path) -> Result<(), Failure> {
    // In a folder of its own: else both builds would take turns in being out of date.
    let apart = Place { target: place.target.join("named"), ..place.clone() };
    let named = component::compile(&apart, "smtp-fallback-component", &["--config", "profile.component.strip=false"], &[])?;
    let shipped = fs::metadata(place.component()).map_err(|error| format!("{}: {error}", place.component().display()))?.len();
    print!("{}", table(&groups(&named)?, usize::try_from(shipped).unwrap_or(usize::MAX)));
    println!();
    toolchain::run(Command::new(bench).arg("--component").arg(place.component()).arg("start"))
}

/// Octets of each group.
type Octets = Vec<(&'static str, usize)>;

fn groups(module: &[u8]) -> Result<Octets, Failure> {
    let unreadable = |error: wasmparser::BinaryReaderError| format!("the component with names cannot be read: {error}");
    let (mut bodies, mut data, mut names, mut imported) = (Vec::new(), Vec::new(), HashMap::new(), 0_u32);
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(unreadable)? {
            Payload::ImportSection(section) => imported += section.count(),
            Payload::CodeSectionEntry(body) => bodies.push(body.as_bytes().len()),
            Payload::DataSection(section) => {
                for segment in section {
                    data.push(segment.map_err(unreadable)?.data);
                }
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(reader) = section.as_known() {
                    for part in reader {
                        if let Name::Function(map) = part.map_err(unreadable)? {
                            for naming in map {
                                let naming = naming.map_err(unreadable)?;
                                names.insert(naming.index, naming.name);
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }
    if names.is_empty() {
        return Err("the component with names has none; check profile.component.strip".to_owned());
    }
    let mut octets: Octets = GROUPS.iter().map(|(group, _)| (*group, 0)).collect();
    octets.push((LIBRARY, 0));
    for (index, body) in (imported..).zip(&bodies) {
        // Without the hash at its end.
        let name = names.get(&index).map(|name| format!("{:#}", rustc_demangle::demangle(name)));
        add(&mut octets, name.as_deref().map_or(LIBRARY, group), *body);
    }
    let mut rest: usize = data.iter().map(|segment| segment.len()).sum();
    for (name, beginning) in TEXTS {
        let length = data.iter().find_map(|segment| json(segment, beginning)).unwrap_or(0);
        rest -= length;
        octets.push((name, length));
    }
    octets.push(("texts and tables: all else", rest));
    Ok(octets)
}

fn add(octets: &mut Octets, group: &str, more: usize) {
    if let Some((_, sum)) = octets.iter_mut().find(|(name, _)| *name == group) {
        *sum += more;
    }
}

/// The group of a function, by the path that its readable name begins with: that of the type where it is a type's.
fn group(name: &str) -> &'static str {
    let path = name.trim_start_matches(['<', '&', '_', ' ']).trim_start_matches("mut ");
    let fits = |beginning: &str| {
        let whole = name.strip_prefix(beginning).or_else(|| path.strip_prefix(beginning));
        // A word ends there, unless the beginning is a prefix of names.
        whole.is_some_and(|rest| beginning.ends_with(['_', '/']) || !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            || beginning.starts_with("__") && name.starts_with(beginning)
    };
    GROUPS.iter().find(|(_, beginnings)| beginnings.iter().any(|beginning| fits(beginning))).map_or(LIBRARY, |(group, _)| group)
}

/// The length of the JSON object that begins so, where there is one.
fn json(data: &[u8], beginning: &str) -> Option<usize> {
    let start = data.windows(beginning.len()).position(|window| window == beginning.as_bytes())?;
    let (mut depth, mut in_string, mut escaped) = (0_u32, false, false);
    for (length, octet) in (1..).zip(&data[start..]) {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' if !in_string => depth += 1,
            b'}' if !in_string => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(length);
        }
    }
    None
}

fn table(octets: &Octets, shipped: usize) -> String {
    let known: usize = octets.iter().map(|(_, octets)| octets).sum();
    let mut rows = octets.clone();
    rows.retain(|(_, octets)| *octets > 0);
    rows.sort_by_key(|(_, octets)| std::cmp::Reverse(*octets));
    rows.extend([("types, exports, wrapping", shipped.saturating_sub(known)), ("in all, as shipped", shipped)]);
    let line =
        |(name, octets): &(&str, usize)| format!("{name:<42} {octets:>8} {:>5.1} %\n", *octets as f64 * 100.0 / shipped as f64);
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_belongs_to_the_first_path_in_its_name() {
        for (name, expected) in [
            ("smtp_fallback_policy::policy::parse::parse", "policy: reading and checking it"),
            ("<smtp_fallback_policy::record::codec::Reader as core::fmt::Debug>::fmt", "records: their octets, inspect"),
            ("<&smtp_fallback_policy::explain::Trail>::say", "explain"),
            ("smtp_fallback_policy::policyholder::x", "decide, keys, replies"),
            ("smtp_fallback_component::allocator::Blocks::free", "allocator"),
            ("__rust_alloc", "allocator"),
            ("cabi_realloc", "border: the contract's types"),
            ("core::fmt::write", "Rust's library: formatting"),
            ("<alloc::vec::Vec<T> as core::fmt::Debug>::fmt", "Rust's library: all else"),
            ("memcpy", LIBRARY),
            ("<u32 as core::fmt::Display>::fmt", LIBRARY),
            ("smtp_fallback_policy::module::Module::explain", "explain"),
        ] {
            assert_eq!(group(name), expected, "{name}");
        }
    }

    #[test]
    fn every_octet_is_counted_once() {
        let module = wat::parse_str(
            r#"(module (import "a" "b" (func)) (memory 1)
                (func $_ZN4core3fmt5write17h0123456789abcdefE (nop) (nop)) (func $explain (nop))
                (data (i32.const 0) "before {\"$schema\":\"}\\\"\",\"a\":{}} after"))"#,
        );
        let module = module.expect("valid text");
        let octets = groups(&module).expect("it has names");
        let of = |name| octets.iter().find(|(group, _)| *group == name).map(|(_, octets)| *octets);
        assert_eq!(of("Rust's library: formatting"), Some(4));
        assert_eq!(of(LIBRARY), Some(3));
        assert_eq!(of("text: the policy's schema"), Some(r#"{"$schema":"}\"","a":{}}"#.len()));
        assert_eq!(of("texts and tables: all else"), Some("before ".len() + " after".len()));
        let text = table(&octets, 100);
        assert!(text.ends_with("in all, as shipped                              100 100.0 %\n"), "{text}");
        assert_eq!(text.lines().count(), 6, "{text}");
    }

    #[test]
    fn a_module_without_names_is_an_error() {
        let module = wat::parse_str("(module (func))").expect("valid text");
        assert!(groups(&module).expect_err("must fail").contains("strip"));
    }
}
