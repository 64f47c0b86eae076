//! `cargo xtask jco`: the component as JavaScript by jco, in `dist/jco`, for mail servers on Node that `require` what they load.

use std::process::Command;

use super::bench::Runner;
use super::{Face, Need, commonjs, node};
use crate::place::Place;
use crate::{Failure, toolchain};

/// What `cargo xtask faces` builds and tests.
pub(super) const FACE: Face =
    Face { name: "jco", needs: &[(Need::Program("node"), "nodejs"), (Need::Program("npm"), "npm")], build, test, runners };

/// What is written by hand.
const SOURCES: &str = "bindings/jco";

/// jco's module.
const MODULE: &str = "smtp-fallback-policy.js";

/// jco's declarations of the contract's types and functions.
const DECLARATIONS: &str = "interfaces/smtp-fallback-policy-policy.d.ts";

/// Builds `dist/jco` out of the component.
fn build(place: &Place) -> Result<(), Failure> {
    let tools = node::tools(place)?;
    let (sources, dist) = (place.checkout.join(SOURCES), place.checkout.join("dist/jco"));
    node::emptied(&dist)?;
    let mut transpile = Command::new("node");
    transpile.current_dir(&tools).arg("transpile.mjs").arg(place.component()).arg(&dist);
    toolchain::run(&mut transpile)?;
    let commonjs =
        commonjs::of(&node::read_text(&dist.join(MODULE))?).map_err(|failure| format!("{MODULE} of jco: {failure}"))?;
    node::write(&dist.join(MODULE).with_extension("cjs"), commonjs.as_bytes())?;
    node::copy(&sources, &dist, &["package.json", "index.js", "index.cjs", "index.d.ts", "README.md"])?;
    node::copy(&place.checkout, &dist, &["LICENSE-MIT", "LICENSE-APACHE"])?;
    // For `require` TypeScript wants declarations of their own.
    let policy = node::read_text(&dist.join(DECLARATIONS))?;
    for extension in ["d.ts", "d.cts"] {
        node::write(&dist.join("policy").with_extension(extension), policy.as_bytes())?;
    }
    let index = node::read_text(&sources.join("index.d.ts"))?;
    node::write(&dist.join("index.d.cts"), index.replace("'./policy.js'", "'./policy.cjs'").as_bytes())?;
    node::check_paths(place, &dist)?;
    println!("dist/jco: for `require` and `import` on Node");
    Ok(())
}

/// All vectors, and what a user does with it.
fn test(place: &Place) -> Result<(), Failure> {
    node::unit_tests(place, &["jco.test.mjs"])?;
    toolchain::run(node::node(place, "run.mjs").arg("jco"))
}

fn runners(place: &Place) -> Result<Vec<Runner>, Failure> {
    build(place)?;
    Ok(vec![node::runner(place, "JavaScript, jco", "jco")])
}
