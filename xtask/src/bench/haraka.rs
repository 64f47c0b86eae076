//! The Haraka that `bench smtpd` measures.

use std::fs;
use std::path::PathBuf;

use crate::component::sha256;
use crate::faces::node;
use crate::place::Place;
use crate::{Failure, toolchain};

/// What is installed, and in which versions.
const MANIFEST: &str = "bench/haraka";
const FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// Installs it where the lock file has changed since the last time, and returns its folder: the checkout keeps none of its 200 MB.
pub(super) fn install(place: &Place) -> Result<PathBuf, Failure> {
    let (manifest, folder) = (place.checkout.join(MANIFEST), place.target.join("haraka"));
    let (stamp, current) = (folder.join("installed"), sha256(&node::read(&manifest.join(FILES[1]))?));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == current) {
        return Ok(folder);
    }
    node::copy(&manifest, &folder, &FILES)?;
    let mut npm = node::npm(&folder, "ci");
    // Most of its plugins are optional, and not wanted. Nothing that a package brings is to run here on its own.
    npm.args(["--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    toolchain::run(&mut npm)?;
    node::write(&stamp, current.as_bytes())?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_does_not_name_where_anything_was_downloaded() {
        let place = Place::here().expect("cargo runs the tests");
        let lock = node::read(&place.checkout.join(MANIFEST).join(FILES[1])).expect("a file of the checkout");
        let lock = String::from_utf8(lock).expect("it is JSON");
        assert!(
            !lock.contains("\"resolved\""),
            "write it by `npm install --package-lock-only --omit-lockfile-registry-resolved`"
        );
    }
}
