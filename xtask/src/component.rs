//! `cargo xtask component`: the policy module as a WebAssembly component.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use crate::place::Place;
use crate::{Failure, inspect, toolchain};

/// Builds `dist/smtp-fallback-policy.wasm`, checks it, prints its size and SHA-256, and returns its octets.
pub(crate) fn build(place: &Place) -> Result<Vec<u8>, Failure> {
    let component = encode(&compile(place, "smtp-fallback-component", &[], &[])?)?;
    inspect::check(&component)?;
    ship(place, &place.component(), &component)?;
    Ok(component)
}

/// Compiles a package to a core module, in the same way wherever the checkout is.
pub(crate) fn compile(place: &Place, package: &str, more: &[&str], linker: &[&str]) -> Result<Vec<u8>, Failure> {
    toolchain::ensure_wasm_target(place)?;
    let options = toolchain::path_remapping(place)?;
    let mut cargo = toolchain::cargo(place, "rustc")?;
    cargo.args(["--package", package, "--profile", "component", "--target", toolchain::WASM]).args(more).arg("--");
    cargo.args(linker.iter().map(|option| format!("-Clink-arg={option}")));
    // The user's own options would change the outcome.
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", options.join("\x1f".as_ref())).env("CARGO_INCREMENTAL", "0");
    toolchain::run(&mut cargo)?;
    let file = place.target.join(toolchain::WASM).join("component").join(package.replace('-', "_")).with_extension("wasm");
    fs::read(&file).map_err(|error| format!("{} cannot be read: {error}", file.display()))
}

/// Writes a file that is shipped, in which no path of this machine stands and which was found to import nothing, and prints what it is.
pub(crate) fn ship(place: &Place, file: &Path, wasm: &[u8]) -> Result<(), Failure> {
    // Where a folder really is, is private as well.
    let folders = [&place.checkout, &place.cargo_home, &place.target];
    let folders: Vec<_> =
        folders.into_iter().flat_map(|folder| [Some(folder.clone()), folder.canonicalize().ok()]).flatten().collect();
    inspect::check_paths(wasm, &folders.iter().map(|folder| folder.as_path()).collect::<Vec<&Path>>())?;
    write(file, wasm).map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    let name = file.strip_prefix(&place.checkout).unwrap_or(file).display();
    println!("{name}: {} octets, no imports, SHA-256 {}", wasm.len(), sha256(wasm));
    Ok(())
}

/// Wraps the core module: wit-bindgen has left the contract inside.
fn encode(module: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut encoder = ComponentEncoder::default();
    let component = encoder.validate(true).module(module).and_then(|encoder| encoder.encode());
    component.map_err(|error| format!("{error:#}")).and_then(|component| without_names(&component)).map_err(|error| {
        format!("the module cannot be made a component: {error}; check bindings/component against wit/policy.wit")
    })
}

/// Without the names of the component's parts, which are there for debuggers: 1.3 kB of what the policy may have. The module has none either.
fn without_names(component: &[u8]) -> Result<Vec<u8>, String> {
    let mut depth = 0;
    let mut rest = component.to_vec();
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|error| error.to_string())? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::CustomSection(section) if depth == 1 && section.name() == NAMES => {
                let content = section.range().start as usize..section.range().end as usize;
                // Before it: its id, and its length in seven bits an octet.
                let length = (usize::BITS - content.len().leading_zeros()).div_ceil(7) as usize;
                rest.drain(content.start - length - 1..content.end);
                return Ok(rest);
            }
            _ => {}
        }
    }
    Ok(rest)
}

/// What the custom section with the names is called.
const NAMES: &str = "component-name";

/// Never leaves half a file: a server may be reading it.
fn write(file: &Path, content: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
    let part = file.with_extension("wasm.part");
    fs::write(&part, content)?;
    fs::rename(part, file)
}

pub(crate) fn sha256(octets: &[u8]) -> String {
    Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_that_of_fips_180() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn only_the_names_of_the_component_are_left_out() {
        let text = |name: &str| format!(r#"(component {name} (core module (func (export "f"))) (@custom "kept" "octets"))"#);
        let named = wat::parse_str(text("$policy")).expect("valid text");
        let bare = wat::parse_str(text("")).expect("valid text");
        assert!(named.len() > bare.len());
        assert_eq!(without_names(&named), Ok(bare.clone()));
        assert_eq!(without_names(&bare), Ok(bare));
        let long = wat::parse_str(text(&format!("${}", "n".repeat(200)))).expect("valid text");
        assert_eq!(without_names(&long), without_names(&named), "a length of two octets");
    }

    #[test]
    fn a_module_without_the_contract_is_refused_or_empty() {
        assert!(encode(b"not wasm").expect_err("must fail").contains("bindings/component"));
        let imports = wat::parse_str(r#"(module (import "env" "now" (func)))"#).expect("valid text");
        assert!(encode(&imports).expect_err("must fail").contains("env"));
    }
}
