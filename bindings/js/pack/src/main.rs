//! `smtp-fallback-js-pack MODULE FOLDER`: takes what wasm-bindgen left in the compiled crate out of it again, and writes the module and its
//! JavaScript, as a function that makes bindings for one instance more each time.
//!
//! wasm-bindgen's own forms know one instance for the life of a program. An instance that has trapped is dead, and this package puts another in its
//! place.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use wasm_bindgen_cli_support::{Bindgen, EncodeInto};

/// The file of the package.
const WASM: &str = "smtp-fallback-policy.wasm";

/// What wasm-bindgen calls its files; the WebAssembly module imports by that name what its JavaScript has.
const NAME: &str = "module";

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(module), Some(folder), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("Usage: smtp-fallback-js-pack MODULE FOLDER");
        return ExitCode::from(2);
    };
    match pack(&module, &folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error:#}", module.display());
            ExitCode::FAILURE
        }
    }
}

fn pack(module: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let raw = folder.join("raw");
    let mut bindgen = Bindgen::new();
    // Of all its forms the one for bundlers leaves loading and instantiating to others.
    bindgen.bundler(true)?.input_path(module).out_name(NAME).typescript(false);
    // Texts go over by one call of the engine, and not letter by letter: here they are long.
    bindgen.encode_into(EncodeInto::Always);
    bindgen.remove_name_section(true).remove_producers_section(true).generate(&raw).map_err(|error| {
        format!("{error:#}\nwasm-bindgen must be of the same version in bindings/js/Cargo.toml and bindings/js/pack/Cargo.toml")
    })?;
    let js = fs::read_to_string(raw.join(format!("{NAME}_bg.js")))?;
    fs::write(folder.join("bindings.js"), bindings(&js)?)?;
    fs::rename(raw.join(format!("{NAME}_bg.wasm")), folder.join(WASM))?;
    fs::remove_dir_all(raw)?;
    Ok(())
}

/// The module as a function: what it exports by name becomes what the function returns.
fn bindings(js: &str) -> Result<String, String> {
    let (mut body, mut imports) = (String::new(), Vec::new());
    for line in js.lines() {
        let line = match line.strip_prefix("export ") {
            Some(declaration) => {
                let name = declaration.strip_prefix("function ").and_then(|rest| rest.split_once('('));
                match name.map(|(name, _)| name).filter(|name| *name != "__wbg_set_wasm") {
                    // What the WebAssembly module imports.
                    Some(name) => imports.push(name),
                    None if declaration.starts_with("class Raw ") || declaration.starts_with("function __wbg_set_wasm(") => {}
                    None => return Err(format!("wasm-bindgen exports something new, see bindings/js/pack: {line}")),
                }
                declaration
            }
            None if line.starts_with("import ") => {
                return Err(format!("wasm-bindgen imports something, see bindings/js/pack: {line}"));
            }
            None => line,
        };
        // Not a line of a text: there is none over several lines.
        body.push_str(if line.is_empty() { "" } else { "  " });
        body.push_str(line);
        body.push('\n');
    }
    Ok(format!(
        "// Written by wasm-bindgen. Each call makes what one more instance of the module needs.\nexport function bindings() {{\n{body}  \
         const imports = {{ './{NAME}_bg.js': {{ {} }} }};\n  return {{ Raw, setWasm: __wbg_set_wasm, imports }};\n}}\n",
        imports.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_become_what_the_function_returns() {
        let js = "export class Raw {\n}\nexport function __wbg_throw(a) {\n    throw a;\n}\n\nlet wasm;\nexport function __wbg_set_wasm(val) {\n    wasm = val;\n}\n";
        let written = bindings(js).expect("a form that is known");
        assert!(written.contains(
            "export function bindings() {\n  class Raw {\n  }\n  function __wbg_throw(a) {\n      throw a;\n  }\n\n  let wasm;\n"
        ));
        assert!(written.contains("{ './module_bg.js': { __wbg_throw } };\n"), "{written}");
        assert_eq!(written.matches("export").count(), 1);
    }

    #[test]
    fn a_new_form_is_refused() {
        for strange in ["import * as a from 'a';", "export const a = 1;", "export class Other {"] {
            assert!(bindings(&format!("class A {{}}\n{strange}\n")).expect_err("must fail").contains(strange));
        }
    }
}
