//! `cargo xtask npm`: the npm package, in `dist/npm`, for Node and for browsers.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bench::Runner;
use super::{Face, Need, commonjs, node, typescript};
use crate::place::Place;
use crate::wit::{self, Contract};
use crate::{Failure, toolchain};

/// What `cargo xtask faces` builds and tests.
pub(super) const FACE: Face = Face {
    name: "npm",
    needs: &[(Need::Program("node"), "nodejs"), (Need::Program("npm"), "npm"), (Need::Program("chromium"), "chromium")],
    build,
    test,
    runners,
};

/// What is written by hand, and what is written from the contract.
const SOURCES: &str = "bindings/js/package";

/// The modules of the package, each in both forms; `bindings` is wasm-bindgen's.
const MODULES: [&str; 5] = ["errors", "contract", "convert", "policy", "bindings"];

/// What goes into the package as it stands.
const COPIED: [&str; 6] = ["package.json", "node.js", "node.cjs", "browser.js", "index.d.ts", "contract.d.ts"];

/// The program that packs, in a workspace of its own.
pub(crate) const PACK: &str = "bindings/js/pack/Cargo.toml";
const PROGRAM: &str = "smtp-fallback-js-pack";

const WASM: &str = "smtp-fallback-policy.wasm";

/// The files that are written from the contract, with their content.
pub(super) fn written(contract: &Contract) -> [(String, String); 2] {
    [
        (format!("{SOURCES}/contract.d.ts"), typescript::declarations(contract)),
        (format!("{SOURCES}/contract.js"), typescript::table(contract)),
    ]
}

/// Builds `dist/npm`, from which `npm pack` and `npm publish` work.
fn build(place: &Place) -> Result<(), Failure> {
    for (name, content) in written(&wit::read(place)?) {
        let file = place.checkout.join(&name);
        if fs::read_to_string(&file).ok().as_deref() != Some(&content) {
            node::write(&file, content.as_bytes())?;
            println!("{name}: written anew, commit it");
        }
    }
    let (sources, dist) = (place.checkout.join(SOURCES), dist(place));
    let packed = pack(place)?;
    node::emptied(&dist)?;
    node::copy(&sources, &dist, &COPIED)?;
    node::copy(&place.checkout, &dist, &["LICENSE-MIT", "LICENSE-APACHE"])?;
    node::copy(&place.checkout.join("bindings/js"), &dist, &["README.md"])?;
    node::copy(&packed, &dist, &[WASM])?;
    for name in MODULES {
        let folder = if name == "bindings" { &packed } else { &sources };
        let module = node::read_text(&folder.join(name).with_extension("js"))?;
        let commonjs = commonjs::of(&module).map_err(|failure| format!("{name}.js: {failure}"))?;
        node::write(&dist.join("lib").join(name).with_extension("js"), module.as_bytes())?;
        node::write(&dist.join("lib").join(name).with_extension("cjs"), commonjs.as_bytes())?;
    }
    // For `require` TypeScript wants declarations of their own.
    for name in ["index", "contract"] {
        let declarations = node::read_text(&sources.join(name).with_extension("d.ts"))?;
        node::write(
            &dist.join(name).with_extension("d.cts"),
            declarations.replace("'./contract.js'", "'./contract.cjs'").as_bytes(),
        )?;
    }
    node::check_paths(place, &dist)?;
    let octets = node::read(&dist.join(WASM))?.len();
    println!("dist/npm: for `npm pack` and `npm publish`, {octets} octets of WebAssembly");
    Ok(())
}

fn dist(place: &Place) -> PathBuf {
    place.checkout.join("dist/npm")
}

/// Compiles bindings/js and lets wasm-bindgen write what belongs to it. Returns the folder with both.
fn pack(place: &Place) -> Result<PathBuf, Failure> {
    toolchain::ensure_wasm_target(place)?;
    let mut cargo = toolchain::cargo(place, "build")?;
    cargo.args(["--package", "smtp-fallback-js", "--profile", "npm", "--target", toolchain::WASM]);
    let options = toolchain::path_remapping(place)?;
    // The user's own options would change the outcome.
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", options.join("\x1f".as_ref())).env("CARGO_INCREMENTAL", "0");
    toolchain::run(&mut cargo)?;
    let mut cargo = toolchain::cargo(place, "build")?;
    toolchain::run(cargo.args(["--manifest-path", PACK]))?;
    let output = place.target.join("js/packed");
    node::emptied(&output)?;
    let mut program = Command::new(place.target.join("debug").join(PROGRAM).with_extension(env::consts::EXE_EXTENSION));
    program.arg(place.target.join(toolchain::WASM).join("npm/smtp_fallback_js.wasm")).arg(&output);
    toolchain::run(&mut program)?;
    Ok(output)
}

/// Installs the package as a user does, and runs what there is on it: unit tests, the types, and all vectors by `require`, by `import`, and in
/// Chromium.
fn test(place: &Place) -> Result<(), Failure> {
    node::tools(place)?;
    install(place)?;
    toolchain::run(toolchain::cargo(place, "test")?.args(["--quiet", "--manifest-path", PACK]))?;
    node::unit_tests(place, &["npm.test.mjs", "types.test.mjs", "trap.test.mjs"])?;
    for face in ["npm-cjs", "npm-esm"] {
        toolchain::run(node::node(place, "run.mjs").arg(face))?;
    }
    toolchain::run(&mut node::node(place, "browser.mjs"))
}

/// Packs `dist/npm` and installs the outcome into an empty program, without a network.
fn install(place: &Place) -> Result<(), Failure> {
    let consumer = node::consumer(place);
    node::emptied(&consumer)?;
    node::write(&consumer.join("package.json"), b"{\"name\": \"consumer\", \"version\": \"1.0.0\", \"private\": true}\n")?;
    // The package by both ways, for whoever wants it from elsewhere.
    node::write(&consumer.join("required.cjs"), b"module.exports = require('smtp-fallback-policy');\n")?;
    node::write(&consumer.join("imported.mjs"), b"export * from 'smtp-fallback-policy';\n")?;
    let mut npm = node::npm(&dist(place), "pack");
    toolchain::run(npm.args(["--silent", "--pack-destination"]).arg(&consumer))?;
    let tarball = tarball(&consumer)?;
    let mut npm = node::npm(&consumer, "install");
    toolchain::run(npm.args(["--offline", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]).arg(tarball))
}

fn tarball(folder: &Path) -> Result<PathBuf, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    let mut files = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    files
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .ok_or_else(|| "`npm pack` left no package".to_owned())
}

fn runners(place: &Place) -> Result<Vec<Runner>, Failure> {
    build(place)?;
    node::tools(place)?;
    install(place)?;
    Ok(vec![node::runner(place, "JavaScript, npm package", "npm-cjs")])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> String {
        let place = Place::here().expect("cargo runs the tests");
        node::read_text(&place.checkout.join(name)).expect("a file of the checkout")
    }

    #[test]
    fn packages_have_the_version_of_the_workspace() {
        for name in ["bindings/js/package/package.json", "bindings/jco/package.json"] {
            assert!(text(name).contains(concat!("\"version\": \"", env!("CARGO_PKG_VERSION"), "\",")), "{name}");
        }
    }

    #[test]
    fn both_halves_of_wasm_bindgen_are_of_one_version() {
        let version = |name: &str, before: &str| {
            let text = text(name);
            let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{name} has no {before:?}"));
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        assert_eq!(
            version("bindings/js/Cargo.toml", "wasm-bindgen = { version = \"="),
            version(PACK, "wasm-bindgen-cli-support = \"="),
            "bindings/js/Cargo.toml and {PACK} must name the same version, exactly"
        );
    }

    #[test]
    fn no_file_of_the_lock_names_where_it_was_downloaded() {
        assert!(
            !text("bindings/js/tools/package-lock.json").contains("\"resolved\""),
            "write it by `npm install --omit-lockfile-registry-resolved`"
        );
    }
}
