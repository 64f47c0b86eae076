//! `cargo xtask bench peers`: the policy in what a user would pick in place of the module, beside the module and the component, in one run.
//!
//! The peers are in a workspace of their own, and build as two programs: Lua 5.4 and LuaJIT have functions of the same names. Each is held
//! against the module's own answers before any is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::faces::bench::{self, Runner, Table};
use crate::needs::{self, Need, Needed};
use crate::place::Place;
use crate::{Failure, toolchain};

const MANIFEST: &str = "bench/peers/Cargo.toml";

const LUA54: &str = "smtp-fallback-peers-lua54";
const LUAJIT: &str = "smtp-fallback-peers-luajit";

const NEEDS: [Needed; 3] = [
    (Need::Program("pkg-config"), "pkg-config"),
    (Need::File("/usr/include/lua5.4/lua.h"), "liblua5.4-dev"),
    (Need::File("/usr/include/luajit-2.1/lua.h"), "libluajit-5.1-dev"),
];

/// Each peer: its row, its program, its name there, and whether it takes a tenth of the decisions.
const PEERS: [(&str, &str, &str, bool); 9] = [
    ("Lua 5.4, tables by hand", LUA54, "lua-by-hand", false),
    ("Lua 5.4, converted", LUA54, "lua-converted", false),
    ("LuaJIT, tables by hand", LUAJIT, "lua-by-hand", false),
    ("LuaJIT, converted", LUAJIT, "lua-converted", false),
    ("CEL, variables by hand", LUA54, "cel-by-hand", false),
    ("CEL, converted", LUA54, "cel-converted", false),
    ("Rego, input by hand", LUA54, "rego", true),
    ("policy service, Unix socket", LUA54, "service-unix", false),
    ("policy service, TCP", LUA54, "service-tcp", false),
];

/// Said before minutes of compiling, not after.
pub(super) fn check_needs() -> Result<(), Failure> {
    needs::check(&NEEDS)
}

/// Builds the peers, checks them and, unless only that was asked for, measures all. `bench` was built.
pub(super) fn run(place: &Place, bench: &Path, verify_only: bool) -> Result<(), Failure> {
    for (program, features) in [(LUA54, "lua54"), (LUAJIT, "luajit")] {
        let mut cargo = toolchain::cargo(place, "build")?;
        cargo.args(["--release", "--manifest-path", MANIFEST, "--bin", program, "--no-default-features", "--features", features]);
        toolchain::run(&mut cargo)?;
    }
    verify(place, bench)?;
    if verify_only {
        return Ok(());
    }
    let mut runners = bench::of_rust(place, bench);
    // The core module's rows belong to the faces.
    runners.truncate(2);
    runners.extend(
        PEERS.map(|(name, program, peer, slow)| Runner { slow, ..Runner::new(name, place.released(program), &[peer.as_ref()]) }),
    );
    let table = Table { kinds: &["accept", "refusal", "greeting"], unit: 1, unit_name: "component" };
    bench::run(place, &runners, &bench::cases(place, bench, &["with-greeting"])?, &table, false)
}

/// Whether each peer decides as the module does.
fn verify(place: &Place, bench: &Path) -> Result<(), Failure> {
    let file: PathBuf = place.target.join("bench-calls.json");
    let calls = toolchain::output(Command::new(bench).arg("--component").arg(place.component()).arg("calls"))?;
    fs::write(&file, calls).map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    // Both services judge by the same code, and this is asked in the process.
    for (name, program, peer, _) in PEERS.into_iter().filter(|(_, _, peer, _)| *peer != "service-tcp") {
        let said = toolchain::output(Command::new(place.released(program)).args([peer, "verify"]).arg(&file))?;
        println!("{name}: {}", said.trim_end());
    }
    Ok(())
}
