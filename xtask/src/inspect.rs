//! What a finished component must and must not hold.

use std::path::Path;

use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload};

use crate::Failure;

/// The largest component that is shipped, in octets.
pub(crate) const MAX_OCTETS: usize = 192_000;

/// The interface that hosts look for, whatever its version.
const INTERFACE: &str = "smtp-fallback:policy/policy@";

/// Checks the component's imports, exports and size.
pub(crate) fn check(component: &[u8]) -> Result<(), Failure> {
    let Border { imports, exports } = border(component)?;
    if !imports.is_empty() {
        return Err(format!(
            "the component imports {}, but must import nothing: a decision depends on its arguments only. Look for code in src/ that \
             reads a clock, randomness or the environment",
            imports.join(", ")
        ));
    }
    if !exports.iter().any(|name| name.starts_with(INTERFACE)) {
        return Err(format!("the component exports {exports:?}, expected an instance {INTERFACE}…; check bindings/component"));
    }
    if component.len() > MAX_OCTETS {
        return Err(format!(
            "the component has {} octets, at most {MAX_OCTETS} are shipped; look for what grew it, such as formatting of floats or a \
             large dependency",
            component.len()
        ));
    }
    Ok(())
}

/// Checks that no path of the machine that built it is inside.
pub(crate) fn check_paths(wasm: &[u8], private_folders: &[&Path]) -> Result<(), Failure> {
    for folder in private_folders.iter().filter(|folder| is_telling(folder)) {
        let text = folder.as_os_str().as_encoded_bytes();
        if let Some(position) = wasm.windows(text.len()).position(|window| window == text) {
            let end = wasm.len().min(position + 120);
            let shown: String = String::from_utf8_lossy(&wasm[position..end]).chars().take_while(|c| !c.is_control()).collect();
            return Err(format!(
                "what was built holds a path of this machine at octet {position}: {shown:?}; add its folder to path_remapping in \
                 xtask/src/toolchain.rs"
            ));
        }
    }
    Ok(())
}

/// A folder just below the root, such as `/src`, may well stand in a remapped path too.
fn is_telling(folder: &Path) -> bool {
    folder.components().count() > 2
}

struct Border {
    imports: Vec<String>,
    exports: Vec<String>,
}

/// The names that cross the component's outer border. Those between its inner modules do not count.
fn border(component: &[u8]) -> Result<Border, Failure> {
    let unreadable = |error: wasmparser::BinaryReaderError| format!("the component cannot be read: {error}");
    let mut border = Border { imports: Vec::new(), exports: Vec::new() };
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(unreadable)? {
            Payload::Version { encoding, .. } => {
                if depth == 0 && encoding != Encoding::Component {
                    return Err("this is a WebAssembly module, expected a component; build it by `cargo xtask component`".into());
                }
                depth += 1;
            }
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    border.imports.push(import.map_err(unreadable)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export.map_err(unreadable)?;
                    if export.kind == ComponentExternalKind::Instance {
                        border.exports.push(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    Ok(border)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"(component
        (core module (import "inner" "wiring" (func)) (data "/home/someone/project/src/lib.rs"))
        (component (import "nested" (func)))
        (instance $i)
        (export "smtp-fallback:policy/policy@0.1.0" (instance $i)))"#;

    fn checked(text: &str) -> Result<(), Failure> {
        check(&wat::parse_str(text).expect("valid text"))
    }

    fn failure(text: &str) -> String {
        checked(text).expect_err("must fail")
    }

    #[test]
    fn a_component_that_imports_nothing_passes() {
        assert_eq!(checked(GOOD), Ok(()));
    }

    #[test]
    fn an_import_fails() {
        let text = GOOD.replacen("(component", r#"(component (import "wasi:random/random@0.2.0" (instance))"#, 1);
        assert!(failure(&text).contains("imports wasi:random/random@0.2.0"));
    }

    #[test]
    fn a_missing_export_fails() {
        let text = GOOD.replace("policy@0.1.0", "other@0.1.0");
        assert!(failure(&text).contains("expected an instance smtp-fallback:policy/policy@"));
        assert!(failure("(component)").contains("exports []"));
    }

    #[test]
    fn a_module_or_garbage_is_no_component() {
        assert!(failure("(module)").contains("expected a component"));
        assert!(check(b"").is_err());
        assert!(check(b"\0asm\x0d\0\x01\0\xff\xff").is_err());
    }

    #[test]
    fn the_largest_size_passes_and_one_octet_more_fails() {
        let bare = wat::parse_str(GOOD.replace("/home/someone/project/src/lib.rs", "")).expect("valid text").len();
        // The lengths of the string, of its segment, section and module grow by two octets each.
        let filler = |octets| GOOD.replace("/home/someone/project/src/lib.rs", &"x".repeat(octets));
        let overhead = wat::parse_str(filler(MAX_OCTETS - bare - 50)).expect("valid text").len() - (MAX_OCTETS - bare - 50);
        let largest = wat::parse_str(filler(MAX_OCTETS - overhead)).expect("valid text");
        assert_eq!((largest.len(), check(&largest)), (MAX_OCTETS, Ok(())));
        assert!(failure(&filler(MAX_OCTETS - overhead + 1)).contains("192001 octets"));
    }

    #[test]
    fn a_private_path_fails_unless_it_tells_nothing() {
        let paths = |folders: &[&str]| {
            check_paths(&wat::parse_str(GOOD).expect("valid text"), &folders.iter().map(Path::new).collect::<Vec<_>>())
        };
        let told = paths(&["/home/other", "/home/someone"]).expect_err("must fail");
        assert!(told.contains("/home/someone/project/src/lib.rs"), "{told}");
        assert_eq!(paths(&["/home/other"]), Ok(()));
        assert_eq!(paths(&["/src", "/"]), Ok(()));
    }
}
