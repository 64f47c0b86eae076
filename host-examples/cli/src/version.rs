//! `version`: which program, which host, which component.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use smtp_fallback_policy::contract::CONTRACT_VERSION;
use smtp_fallback_store::control::{About, ControlError, ControlStore};

use crate::fail::Fail;
use crate::output::Output;

/// What a component's export begins with; the version of its contract follows.
const INTERFACE: &[u8] = b"smtp-fallback:policy/policy@";

/// Which component is asked about, and in which form.
#[derive(Debug, Args)]
pub(crate) struct VersionOptions {
    /// A component, such as /usr/local/lib/smtp-fallback/smtp-fallback-policy.wasm: prints its SHA-256, and whether the host runs it
    #[arg(value_name = "FILE")]
    component: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// All that can be told.
#[derive(Debug, Serialize)]
struct Versions {
    program: &'static str,
    version: &'static str,
    contract: &'static str,
    /// The running host; absent where none answers.
    host: Option<About>,
    /// Why none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File>,
}

/// A component in a file.
#[derive(Debug, Serialize)]
struct File {
    path: PathBuf,
    octets: usize,
    sha256: String,
    /// The version of its contract; absent where it is no policy component.
    contract: Option<String>,
}

pub(crate) async fn run(options: VersionOptions, socket: &Path) -> Result<(), Fail> {
    let file = options.component.map(File::read).transpose()?;
    let (host, no_host) = match about(socket).await {
        Ok(about) => (Some(about), None),
        Err(fail) => (None, Some(fail)),
    };
    let versions = Versions {
        program: "smtp-fallback",
        version: env!("CARGO_PKG_VERSION"),
        contract: CONTRACT_VERSION,
        host,
        no_host,
        file,
    };
    let mut output = Output::new();
    if options.json {
        output.json(&versions)?;
    } else {
        for line in versions.lines(socket) {
            output.line(&line)?;
        }
    }
    output.finish()?;
    match &versions {
        Versions { file: Some(_), no_host: Some(error), .. } => Err(Fail::Other(format!("nothing to compare with: {error}"))),
        versions if versions.differ() => Err(Fail::Wrong),
        _ => Ok(()),
    }
}

/// What the host says of itself; why it says nothing. That is no failure: the program's own version can be told all the same.
async fn about(socket: &Path) -> Result<About, String> {
    let host = ControlStore::connect(socket).await.map_err(|error| error.to_string())?;
    host.about().await.map_err(|error| match error {
        ControlError::Refused(error) => format!("it does not say ({error}); it may be older than this program"),
        error => error.to_string(),
    })
}

impl Versions {
    fn lines(&self, socket: &Path) -> Vec<String> {
        let Versions { program, version, contract, host, no_host, file } = self;
        let mut lines = vec![format!("{program} {version}, contract {contract}")];
        match host {
            Some(About { program, version, component }) => lines.push(match component {
                Some(sha256) => format!("{program} {version} at {} runs the component with SHA-256 {sha256}", socket.display()),
                None => format!(
                    "{program} {version} at {} runs no component: it accepts all mail; its log says why",
                    socket.display()
                ),
            }),
            None => lines.extend(no_host.as_ref().map(|error| format!("the host was not asked: {error}"))),
        }
        if let Some(File { path, octets, sha256, contract }) = file {
            let contract = match contract {
                Some(contract) => format!("contract {contract}"),
                None => "not a policy component".to_owned(),
            };
            lines.push(format!("{}: {octets} octets, {contract}, SHA-256 {sha256}", path.display()));
            if self.differ() {
                lines.push("The host does not run this file. It reads the component when it starts: restart it".to_owned());
            }
        }
        lines
    }

    /// Whether the host was found to run another component than the file.
    fn differ(&self) -> bool {
        match (&self.host, &self.file) {
            (Some(host), Some(file)) => host.component.as_ref() != Some(&file.sha256),
            _ => false,
        }
    }
}

impl File {
    fn read(path: PathBuf) -> Result<File, Fail> {
        let octets = std::fs::read(&path).map_err(|error| Fail::file("read", &path.display().to_string(), error))?;
        let sha256 = Sha256::digest(&octets).iter().map(|octet| format!("{octet:02x}")).collect();
        Ok(File { octets: octets.len(), sha256, contract: contract_of(&octets), path })
    }
}

/// The version of the contract that a component exports, from the name of its export.
fn contract_of(component: &[u8]) -> Option<String> {
    let at = component.windows(INTERFACE.len()).position(|part| part == INTERFACE)?;
    let version =
        component.get(at + INTERFACE.len()..)?.iter().take_while(|octet| octet.is_ascii_digit() || **octet == b'.').take(20);
    let version: String = version.map(|octet| char::from(*octet)).collect();
    (!version.is_empty()).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_is_in_the_name_of_the_export() {
        assert_eq!(contract_of(b"\0asm..smtp-fallback:policy/policy@0.12.3\x07#decide").as_deref(), Some("0.12.3"));
        assert_eq!(contract_of(b"\0asm..smtp-fallback:policy/policy@x"), None);
        assert_eq!(contract_of(b"\0asm..smtp-fallback:policy/policy@"), None);
        assert_eq!(contract_of(b""), None);
    }
}
