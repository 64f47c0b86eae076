//! Where things are: the checkout, cargo's home, the build's output.

use std::env;
use std::path::{Path, PathBuf, absolute};

use crate::Failure;

/// The folders of one build. All are absolute.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The checkout: the folder with the workspace's `Cargo.toml`.
    pub(crate) checkout: PathBuf,
    /// Where cargo keeps the sources of dependencies.
    pub(crate) cargo_home: PathBuf,
    /// Where cargo puts what it builds. It is named to cargo in each call, so that both always agree.
    pub(crate) target: PathBuf,
}

impl Place {
    /// The checkout that this program belongs to, with cargo's home and target folder of the user.
    pub(crate) fn here() -> Result<Self, Failure> {
        let package = env::var_os("CARGO_MANIFEST_DIR").ok_or("start this program as `cargo xtask`, inside the checkout")?;
        let checkout = Path::new(&package).parent().ok_or("xtask is not inside a checkout")?.to_path_buf();
        let cargo_home = match env::var_os("CARGO_HOME").filter(|home| !home.is_empty()) {
            Some(home) => PathBuf::from(home),
            None => env::home_dir().ok_or("cargo's home is not known; set CARGO_HOME")?.join(".cargo"),
        };
        let target = match env::var_os("CARGO_TARGET_DIR").filter(|target| !target.is_empty()) {
            Some(target) => PathBuf::from(target),
            None => checkout.join("target"),
        };
        let absolute = |path: PathBuf| absolute(&path).map_err(|error| format!("{}: {error}", path.display()));
        Ok(Place { checkout, cargo_home: absolute(cargo_home)?, target: absolute(target)? })
    }

    /// The component, as `cargo xtask component` leaves it.
    pub(crate) fn component(&self) -> PathBuf {
        self.checkout.join("dist/smtp-fallback-policy.wasm")
    }

    /// The core module, as `cargo xtask module` leaves it.
    pub(crate) fn module(&self) -> PathBuf {
        self.checkout.join("dist/smtp-fallback-module.wasm")
    }

    /// A program, as `cargo build --release` leaves it.
    pub(crate) fn released(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name).with_extension(env::consts::EXE_EXTENSION)
    }

    /// A program of the workspace, as `cargo build` leaves it.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name).with_extension(env::consts::EXE_EXTENSION)
    }
}
