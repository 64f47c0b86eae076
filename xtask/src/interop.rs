//! `cargo xtask interop`: smtpd between a Postfix, a Dovecot and an openssl of this system, and before other people's mail servers as clients, which
//! are installed for it aside from the system. Needs root, and these programs. `--whole`: what those clients do, so often that chance shows;
//! that writes docs/sender-matrix.md.

use std::env;
use std::path::{Path, PathBuf};

use crate::place::Place;
use crate::steps::Steps;
use crate::{Failure, component, test, toolchain};

/// The package of these tests, which `cargo xtask test` leaves out.
pub(crate) const PACKAGE: &str = "smtp-fallback-interop";

/// For the whole form of the tests with other servers as clients, and nothing else.
const WHOLE: &str = "--whole";

/// How many run at a time: most of them wait for other programs, most of the time.
const AT_A_TIME: &str = "6";

/// Programs, each with the package of Debian that has it.
const PROGRAMS: [(&str, &str); 11] = [
    ("postfix", "postfix"),
    ("postcat", "postfix"),
    ("postconf", "postfix"),
    ("postqueue", "postfix"),
    ("dovecot", "dovecot-lmtpd"),
    ("openssl", "openssl"),
    ("opendkim", "opendkim"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("npm", "npm"),
];

/// A file of Dovecot that is no program to call.
const LMTP: (&str, &str) = ("/usr/lib/dovecot/lmtp", "dovecot-lmtpd");

pub(crate) fn run(place: &Place, arguments: &[String]) -> Result<(), Failure> {
    if toolchain::output(std::process::Command::new("id").arg("-u"))?.trim() != "0" {
        return Err("these tests start Postfix, and need root for that; run `cargo xtask interop` as root".to_owned());
    }
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    if let Some(missing) = missing(&folders, Path::new("/")) {
        return Err(missing);
    }
    let mut steps = Steps::default();
    steps.step("component", || component::build(place))?;
    steps.step("build the tests", || test::build(place))?;
    steps.step("interop", || {
        let mut cargo = toolchain::cargo(place, "test")?;
        // Of the whole workspace, so that nothing is compiled with other features; the name of the test chooses.
        cargo.arg("--workspace");
        let (whole, arguments): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|argument| *argument == WHOLE);
        if whole.is_empty() {
            cargo.args(["--test", "interop", "--test", "senders"]).args(&arguments);
        } else {
            cargo.args(["--test", "senders"]).args(&arguments);
        }
        if !arguments.iter().any(|argument| *argument == "--") {
            cargo.arg("--");
        }
        if !whole.is_empty() {
            cargo.args(["--ignored", "--exact", "matrix::whole", "--nocapture"]);
        }
        if !arguments.iter().any(|argument| argument.starts_with("--test-threads")) {
            cargo.args(["--test-threads", AT_A_TIME]);
        }
        cargo.env("SMTP_FALLBACK_COMPONENT", place.component()).env("SMTP_FALLBACK_SMTPD", place.program("smtp-fallback-smtpd"));
        cargo.env("SMTP_FALLBACK_MILTER", place.program("smtp-fallback-milter"));
        toolchain::run(&mut cargo)
    })
}

/// What is missing and how to install it, if anything is.
fn missing(folders: &[PathBuf], root: &Path) -> Option<Failure> {
    let is_here = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
    let mut absent: Vec<(&str, &str)> = PROGRAMS.into_iter().filter(|(program, _)| !is_here(program)).collect();
    if !root.join(LMTP.0.trim_start_matches('/')).is_file() {
        absent.push(LMTP);
    }
    if absent.is_empty() {
        return None;
    }
    let names: Vec<_> = absent.iter().map(|(program, _)| *program).collect();
    let mut packages: Vec<_> = absent.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    let mut command = String::new();
    if packages.contains(&"postfix") {
        // Else its installation asks, and sets up a mail system that nobody wants here.
        command.push_str("echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections && ");
    }
    let packages = packages.join(" ");
    command.push_str(&format!("DEBIAN_FRONTEND=noninteractive apt-get install --no-install-recommends {packages}"));
    Some(format!(
        "{} not found in PATH ({}). On Debian 12 install what is missing by\n    {command}\nNo service of the system is used or has to run",
        names.join(", "),
        env::join_paths(folders).unwrap_or_default().to_string_lossy()
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder that is removed when the test has ended, however it ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = env::temp_dir().join(format!("xtask-interop-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("usr/lib/dovecot")).expect("the temporary folder can be written");
            Folder(path)
        }

        fn add(&self, names: &[&str]) {
            for name in names {
                fs::write(self.0.join(name.trim_start_matches('/')), "").expect("the folder was made");
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn nothing_is_missing() {
        let folder = Folder::new("all");
        folder.add(&PROGRAMS.map(|(program, _)| program));
        folder.add(&[LMTP.0]);
        assert_eq!(missing(&[folder.0.join("none"), folder.0.clone()], &folder.0), None);
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let folder = Folder::new("some");
        folder.add(&["postfix", "postcat", "postconf", "postqueue", "dovecot", "opendkim", "ip", "nsenter", "unshare", "npm"]);
        let words = missing(std::slice::from_ref(&folder.0), &folder.0).expect("two are missing");
        assert!(words.starts_with("openssl, /usr/lib/dovecot/lmtp not found"), "{words}");
        assert!(words.contains("--no-install-recommends openssl dovecot-lmtpd\n") && !words.contains("debconf"), "{words}");
        folder.add(&["openssl", LMTP.0]);
        fs::remove_file(folder.0.join("postconf")).expect("it was there");
        let words = missing(std::slice::from_ref(&folder.0), &folder.0).expect("one is missing");
        assert!(words.contains("debconf-set-selections && ") && words.contains("recommends postfix\n"), "{words}");
    }
}
