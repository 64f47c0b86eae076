//! `cargo xtask module`: the policy module as a plain core WebAssembly module, and its proof as C.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use wasm_encoder::{ExportKind, ExportSection, RawSection};
use wasmparser::types::{EntityType, Types};
use wasmparser::{BinaryReaderError, ExternalKind, Parser, Payload, ValType, Validator, WasmFeatures};

use super::bench::Runner;
use super::{Face, Need};
use crate::place::Place;
use crate::{Failure, component, toolchain};

pub(super) const FACE: Face = Face {
    name: "module",
    needs: &[
        (Need::Program("wasm2c"), "wabt"),
        (Need::File(RUNTIME_HEADER), "wabt"),
        (Need::Program("gcc"), "gcc"),
        (Need::File("/usr/include/jansson.h"), "libjansson-dev"),
    ],
    build: |place| build(place).map(drop),
    test,
    runners,
};

/// The largest module that is shipped, in octets.
const MAX_OCTETS: usize = 320_000;

/// What bindings/module/README.md promises: WebAssembly 1.0, and of what came later the instructions `memory.copy` and `memory.fill`, and
/// those for the sign of short integers. Every runtime that it names has them.
const FEATURES: WasmFeatures = WasmFeatures::WASM1.union(WasmFeatures::BULK_MEMORY_OPT).union(WasmFeatures::SIGN_EXTENSION);

/// The component's profile, but for this: the core module has no such limit in size, and "s" takes 40 kB more than "z" and little more than
/// half of its time for a decision. A profile of its own would compile serde's macros once more.
const PROFILE: [&str; 2] = ["--config", r#"profile.component.opt-level="s""#];

/// Short numbers for what is called and jumped to: a fourteenth smaller, and readable for runtimes that want a table's number in one octet.
const LINKER: [&str; 1] = ["--compress-relocations"];

/// The exported functions: how many 32-bit integers each takes, and how many it gives.
const FUNCTIONS: [(&str, usize, usize); 5] =
    [("allocate", 1, 1), ("answer", 0, 1), ("answer_octets", 0, 1), ("call", 2, 1), ("free", 2, 0)];

/// What the linker exports of its own accord: numbers of no use to a host.
const OF_THE_LINKER: [&str; 2] = ["__data_end", "__heap_base"];

/// Where Debian has the part of wasm2c that is compiled in.
const RUNTIME: &str = "/usr/share/wabt/wasm2c";
const RUNTIME_HEADER: &str = "/usr/share/wabt/wasm2c/wasm-rt-impl.h";

/// Builds `dist/smtp-fallback-module.wasm`, checks it, prints its size and SHA-256, and returns its octets.
pub(crate) fn build(place: &Place) -> Result<Vec<u8>, Failure> {
    let module = component::compile(place, "smtp-fallback-module", &PROFILE, &LINKER)?;
    let module = without_the_linkers(&module).map_err(|error| format!("the module cannot be read: {error}"))?;
    check(&module)?;
    component::ship(place, &place.module(), &module)?;
    Ok(module)
}

/// The same module without the exports of the linker.
fn without_the_linkers(module: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let mut shorter = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        if let Payload::ExportSection(section) = payload {
            let mut exports = ExportSection::new();
            for export in section {
                let export = export?;
                let kind = match export.kind {
                    ExternalKind::Memory => ExportKind::Memory,
                    ExternalKind::Global => ExportKind::Global,
                    ExternalKind::Table => ExportKind::Table,
                    ExternalKind::Tag => ExportKind::Tag,
                    ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
                };
                if !OF_THE_LINKER.contains(&export.name) {
                    exports.export(export.name, kind, export.index);
                }
            }
            shorter.section(&exports);
        } else if let Some((id, range)) = payload.as_section() {
            shorter.section(&RawSection { id, data: &module[range.start as usize..range.end as usize] });
        }
    }
    Ok(shorter.finish())
}

/// Checks features, imports, exports and size.
fn check(module: &[u8]) -> Result<(), Failure> {
    let types = Validator::new_with_features(FEATURES).validate_all(module).map_err(|error| {
        format!(
            "the module needs more of WebAssembly than bindings/module/README.md promises: {error}; look at which instructions a new \
             rustc writes, and whether every runtime that is named there has them"
        )
    })?;
    let imports: Vec<String> =
        types.as_ref().core_imports().into_iter().flatten().map(|(module, name, _)| format!("{module}.{name}")).collect();
    if !imports.is_empty() {
        return Err(format!("the module imports {}, but must import nothing", imports.join(", ")));
    }
    check_exports(&types)?;
    if module.len() > MAX_OCTETS {
        return Err(format!("the module has {} octets, at most {MAX_OCTETS} are shipped; look for what grew it", module.len()));
    }
    Ok(())
}

fn check_exports(types: &Types) -> Result<(), Failure> {
    let mut expected: Vec<String> = FUNCTIONS.iter().map(|(name, takes, gives)| function(name, *takes, *gives)).collect();
    expected.push("memory".into());
    let mut found: Vec<String> = types
        .as_ref()
        .core_exports()
        .into_iter()
        .flatten()
        .map(|(name, kind)| match kind {
            EntityType::Func(id) => {
                let signature = types[id].unwrap_func();
                let all = signature.params().iter().chain(signature.results());
                let of_32_bits = all.into_iter().all(|each| *each == ValType::I32);
                let text = function(name, signature.params().len(), signature.results().len());
                if of_32_bits { text } else { format!("{text} of other types") }
            }
            EntityType::Memory(_) => name.into(),
            other => format!("{name}: {other:?}"),
        })
        .collect();
    expected.sort_unstable();
    found.sort_unstable();
    if found == expected {
        return Ok(());
    }
    Err(format!("the module exports {}, expected {}", found.join(", "), expected.join(", ")))
}

fn function(name: &str, takes: usize, gives: usize) -> String {
    format!("{name}/{takes}->{gives}")
}

/// Makes C of the module, and runs all vectors by it, as it is and under the sanitizers of gcc, then the example of its README.
fn test(place: &Place) -> Result<(), Failure> {
    let (folder, objects) = as_c(place)?;
    let vectors = place.checkout.join("tests/vectors");
    for (name, options) in [("vectors", PLAIN), ("vectors-sanitized", SANITIZED)] {
        let program = link(place, &folder, name, &RUNNER, options, &objects)?;
        toolchain::run(Command::new(program).arg(place.module()).arg(&vectors))?;
    }
    example(place, &folder, &objects)
}

fn runners(place: &Place) -> Result<Vec<Runner>, Failure> {
    build(place)?;
    let (folder, objects) = as_c(place)?;
    let program = link(place, &folder, "vectors", &RUNNER, PLAIN, &objects)?;
    Ok(vec![Runner::new("C, core module, wasm2c", program, &[place.module().as_os_str()])])
}

/// The runner's files in tests/runners/c, with the face of wasm2c's output.
const RUNNER: [&str; 4] = ["vectors", "calls", "bench", "wasm2c"];

/// The module as C, compiled: the folder and the objects.
fn as_c(place: &Place) -> Result<(PathBuf, [PathBuf; 2]), Failure> {
    let folder = place.target.join("module-c");
    fs::create_dir_all(&folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    let translated = folder.join("policy.c");
    toolchain::run(
        Command::new("wasm2c").args(["--module-name", "policy"]).arg(place.module()).arg("--output").arg(&translated),
    )?;
    let runtime = Path::new(RUNTIME).join("wasm-rt-impl.c");
    let objects = [compile(&folder, &translated, &[])?, compile(&folder, &runtime, &[])?];
    Ok((folder, objects))
}

/// With gcc's warnings as errors: for code that is ours, which generated code is not.
const PLAIN: &[&str] = &["-std=c11", "-Wall", "-Wextra", "-Werror", "-g"];
const SANITIZED: &[&str] =
    &["-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// gcc with what all its calls share.
fn gcc(folder: &Path, options: &[&str]) -> Command {
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-I"]).arg(folder).arg("-I").arg(RUNTIME).args(options);
    gcc
}

/// Compiles one file.
fn compile(folder: &Path, source: &Path, options: &[&str]) -> Result<PathBuf, Failure> {
    let object = folder.join(source.file_name().unwrap_or_default()).with_extension("o");
    toolchain::run(gcc(folder, options).arg("-c").arg(source).arg("-o").arg(&object))?;
    Ok(object)
}

/// Compiles files of tests/runners/c and links them with what is compiled already.
fn link(
    place: &Place,
    folder: &Path,
    name: &str,
    sources: &[&str],
    options: &[&str],
    objects: &[PathBuf],
) -> Result<PathBuf, Failure> {
    let program = folder.join(name).with_extension(env::consts::EXE_EXTENSION);
    let runners = place.checkout.join("tests/runners/c");
    let sources = sources.iter().map(|source| runners.join(source).with_extension("c"));
    let mut gcc = gcc(folder, options);
    toolchain::run(gcc.args(sources).args(objects).args(["-ljansson", "-lm", "-o"]).arg(&program))?;
    Ok(program)
}

/// The program in the README is a program, and prints what the README says.
fn example(place: &Place, folder: &Path, objects: &[PathBuf]) -> Result<(), Failure> {
    let file = place.checkout.join("bindings/module/README.md");
    let readme = fs::read_to_string(&file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let block = |language| block(&readme, language).ok_or_else(|| format!("{}: no block of {language}", file.display()));
    let source = folder.join("example.c");
    fs::write(&source, block("c")?).map_err(|error| format!("{} cannot be written: {error}", source.display()))?;
    let program = folder.join("example").with_extension(env::consts::EXE_EXTENSION);
    toolchain::run(gcc(folder, PLAIN).arg(&source).args(objects).args(["-lm", "-o"]).arg(&program))?;
    let (printed, expected) = (toolchain::output(&mut Command::new(program))?, block("text")?);
    if printed == expected {
        return Ok(());
    }
    Err(format!("the example of {} prints\n{printed}\nexpected\n{expected}", file.display()))
}

/// What stands in the first block of code in this language.
fn block<'a>(readme: &'a str, language: &str) -> Option<&'a str> {
    let (_, rest) = readme.split_once(&format!("\n```{language}\n"))?;
    rest.split_once("```\n").map(|(block, _)| block)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with the border that is expected, and one function more whose body this is.
    fn module(body: &str) -> String {
        format!(
            r#"(module (memory (export "memory") 1) (table 1 funcref) (type $none (func))
                (func (export "allocate") (param i32) (result i32) local.get 0)
                (func (export "answer") (result i32) i32.const 0) (func (export "answer_octets") (result i32) i32.const 0)
                (func (export "call") (param i32 i32) (result i32) i32.const 0) (func (export "free") (param i32 i32))
                (func {body}))"#
        )
    }

    fn checked(text: &str) -> Result<(), Failure> {
        check(&wat::parse_str(text).expect("valid text"))
    }

    #[test]
    fn what_is_promised_passes_and_more_fails() {
        for body in ["", "i32.const 1 i32.extend8_s drop", "i32.const 0 i32.const 1 i32.const 2 memory.copy"] {
            assert_eq!(checked(&module(body)), Ok(()), "{body}");
        }
        for body in ["(result i32 i32) i32.const 1 i32.const 2", "f32.const 1 i32.trunc_sat_f32_s drop", "ref.null func drop"] {
            assert!(checked(&module(body)).expect_err("must fail").contains("more of WebAssembly than"), "{body}");
        }
    }

    #[test]
    fn the_exports_are_those_and_no_others() {
        for (from, to, found) in [
            ("\"answer\"", "\"answers\"", "answers/0->1"),
            ("\"free\") (param i32 i32)", "\"free\") (param i32 i64)", "free/2->0 of other types"),
            ("(type $none (func))", "(global (export \"__heap_base\") i32 (i32.const 0))", "__heap_base: Global"),
            ("(type $none (func))", "(func (export \"more\"))", "more/0->0"),
        ] {
            let failure = checked(&module("").replace(from, to)).expect_err("must fail");
            assert!(
                failure.contains(found)
                    && failure.ends_with(
                        "expected allocate/1->1, answer/0->1, answer_octets/0->1, \
                call/2->1, free/2->0, memory"
                    ),
                "{failure}"
            );
        }
        let failure =
            checked(&module("").replacen("(module", r#"(module (import "env" "now" (func))"#, 1)).expect_err("must fail");
        assert!(failure.contains("imports env.now,"), "{failure}");
        let large = module("").replacen("(memory", &format!("(data (i32.const 0) \"{}\") (memory", "x".repeat(MAX_OCTETS)), 1);
        assert!(checked(&large).expect_err("must fail").contains("at most 320000"));
    }

    #[test]
    fn the_exports_of_the_linker_go_and_nothing_else_does() {
        let more = r#"(global (export "__heap_base") i32 (i32.const 0)) (global (export "kept") i32 (i32.const 7))"#;
        let before = wat::parse_str(module("").replace("(type $none (func))", more)).expect("valid text");
        let after = wat::parse_str(module("").replace("(type $none (func))", &more.replace("(export \"__heap_base\")", "")));
        assert_eq!(without_the_linkers(&before).expect("a module"), after.expect("valid text"));
        assert!(without_the_linkers(b"\0asm\x01\0\0\0\x07\xff").is_err());
    }

    #[test]
    fn a_block_is_found_by_its_language() {
        let readme = "text\n```json\n{}\n```\n\n```c\nint x;\n```\nmore\n```text\nline\n```\n";
        assert_eq!((block(readme, "c"), block(readme, "text"), block(readme, "go")), (Some("int x;\n"), Some("line\n"), None));
    }
}
