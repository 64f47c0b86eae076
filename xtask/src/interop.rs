//! `cargo xtask interop`: smtpd between a Postfix, a Dovecot and an openssl of this system, and before other people's mail servers as clients, which
//! are installed for it aside from the system. Needs root, and these programs. `--whole`: what those clients do, so often that chance shows;
//! that writes docs/sender-matrix.md.

use crate::needs::{self, Need, Needed};
use crate::place::Place;
use crate::steps::Steps;
use crate::{Failure, component, test, toolchain};

/// The package of these tests, which `cargo xtask test` leaves out.
pub(crate) const PACKAGE: &str = "smtp-fallback-interop";

/// For the whole form of the tests with other servers as clients, and nothing else.
const WHOLE: &str = "--whole";

/// How many run at a time: most of them wait for other programs, most of the time.
const AT_A_TIME: &str = "6";

/// What is started, with the package of Debian that has it.
const NEEDS: [Needed; 12] = [
    (Need::Program("postfix"), "postfix"),
    (Need::Program("postcat"), "postfix"),
    (Need::Program("postconf"), "postfix"),
    (Need::Program("postqueue"), "postfix"),
    (Need::Program("dovecot"), "dovecot-lmtpd"),
    (Need::Program("openssl"), "openssl"),
    (Need::Program("opendkim"), "opendkim"),
    (Need::Program("ip"), "iproute2"),
    (Need::Program("nsenter"), "util-linux"),
    (Need::Program("unshare"), "util-linux"),
    (Need::Program("npm"), "npm"),
    // No program to call.
    (Need::File(LMTP), "dovecot-lmtpd"),
];

const LMTP: &str = "/usr/lib/dovecot/lmtp";

pub(crate) fn run(place: &Place, arguments: &[String]) -> Result<(), Failure> {
    needs::check_root("interop")?;
    needs::check(&NEEDS)?;
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::{env, fs};

    use super::*;
    use crate::needs::System;

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
        folder.add(&NEEDS.map(|(Need::Program(name) | Need::File(name), _)| name));
        assert_eq!(System::new(&[folder.0.join("none"), folder.0.clone()], &folder.0).missing(&NEEDS), None);
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let folder = Folder::new("some");
        let system = System::new(std::slice::from_ref(&folder.0), &folder.0);
        folder.add(&["postfix", "postcat", "postconf", "postqueue", "dovecot", "opendkim", "ip", "nsenter", "unshare", "npm"]);
        let words = system.missing(&NEEDS).expect("two are missing");
        assert!(words.starts_with("openssl, /usr/lib/dovecot/lmtp not found"), "{words}");
        assert!(words.contains("--no-install-recommends openssl dovecot-lmtpd\n") && !words.contains("debconf"), "{words}");
        folder.add(&["openssl", LMTP]);
        fs::remove_file(folder.0.join("postconf")).expect("it was there");
        let words = system.missing(&NEEDS).expect("one is missing");
        assert!(words.contains("debconf-set-selections && ") && words.contains("recommends postfix\n"), "{words}");
    }
}
