//! What a command starts that is not built here: whether it is there, and how to install it. Said before minutes of compiling, not after.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use crate::{Failure, toolchain};

/// Something of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A program in PATH.
    Program(&'static str),
    /// A file at this path, such as a header.
    File(&'static str),
}

/// It, with the package of Debian that has it.
pub(crate) type Needed = (Need, &'static str);

/// Where things are looked for.
pub(crate) struct System {
    folders: Vec<PathBuf>,
    root: PathBuf,
}

/// An error where something is missing on this machine.
pub(crate) fn check<'a>(needs: impl IntoIterator<Item = &'a Needed>) -> Result<(), Failure> {
    let folders = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    System { folders, root: "/".into() }.missing(needs).map_or(Ok(()), Err)
}

/// An error unless root runs this command: `cargo xtask COMMAND` starts a Postfix, in namespaces of its own.
pub(crate) fn check_root(command: &str) -> Result<(), Failure> {
    if toolchain::output(Command::new("id").arg("-u"))?.trim() == "0" {
        return Ok(());
    }
    Err(format!("this starts a Postfix, and needs root for that; run `cargo xtask {command}` as root"))
}

impl System {
    /// Programs are in these folders, other files under this root.
    #[cfg(test)]
    pub(crate) fn new(folders: &[PathBuf], root: &std::path::Path) -> System {
        System { folders: folders.to_vec(), root: root.to_path_buf() }
    }

    fn has(&self, need: Need) -> bool {
        match need {
            Need::Program(name) => self.folders.iter().any(|folder| folder.join(name).is_file()),
            Need::File(path) => self.root.join(path.trim_start_matches('/')).exists(),
        }
    }

    /// What is missing and how to install it, if anything is.
    pub(crate) fn missing<'a>(&self, needs: impl IntoIterator<Item = &'a Needed>) -> Option<Failure> {
        let (mut names, mut packages): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for (need, package) in needs.into_iter().filter(|(need, _)| !self.has(*need)) {
            let (Need::Program(name) | Need::File(name)) = *need;
            for (list, item) in [(&mut names, name), (&mut packages, *package)] {
                if !list.contains(&item) {
                    list.push(item);
                }
            }
        }
        if names.is_empty() {
            return None;
        }
        // Else the installation of Postfix asks, and sets up a mail system that nobody wants here.
        let answer = "echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections && ";
        let answer = if packages.contains(&"postfix") { answer } else { "" };
        Some(format!(
            "{} not found in PATH ({}). On Debian 12 install what is missing by\n    {answer}DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get \
             install --no-install-recommends {}\nNo service of the system is used or has to run",
            names.join(", "),
            env::join_paths(&self.folders).unwrap_or_default().to_string_lossy(),
            packages.join(" ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn each_is_named_once_and_its_package_too() {
        let nowhere = System::new(&[PathBuf::from("/no/such/folder")], Path::new("/no/such/root"));
        let needs = [
            (Need::Program("node"), "nodejs"),
            (Need::File("/h.h"), "dev"),
            (Need::Program("node"), "nodejs"),
            (Need::File("/i.h"), "dev"),
        ];
        let words = nowhere.missing(&needs).expect("all are missing");
        assert!(words.starts_with("node, /h.h, /i.h not found in PATH (/no/such/folder)"), "{words}");
        assert!(words.contains("recommends nodejs dev\n"), "{words}");
        assert_eq!(nowhere.missing(&[]), None);
    }
}
