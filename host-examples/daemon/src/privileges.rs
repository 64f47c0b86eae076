//! Giving up root once the ports are bound, and the limit of open files.
//!
//! Under systemd neither is needed: the unit in `deploy/` starts the server as its user, with the one right to bind low ports.

use std::ffi::CString;
use std::fmt;
use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{self, Gid, Group, Uid, User};

/// Whether this process has root's rights (its effective user).
pub fn is_root() -> bool {
    unistd::geteuid().is_root()
}

/// Whether there is such a user, and such a group, and whether root would become it by [`drop_to`].
pub fn check(user: &str, group: Option<&str>) -> Result<(), PrivilegeError> {
    if Account::find(user, group)?.uid.is_root() { Err(PrivilegeError::Root) } else { Ok(()) }
}

/// Makes this process, with all its threads, run as `user`, a name or a number, for good: with the group named, or else the user's
/// primary group, and with the supplementary groups that the user database has for the user (none for a number that it does not
/// know). Then makes sure that root cannot be regained. A process that is that user already is left as it is.
///
/// To be called when the listeners are bound and before the first connection is taken. After an error the process may have some of
/// its rights still: it is to end.
pub fn drop_to(user: &str, group: Option<&str>) -> Result<(), PrivilegeError> {
    let account = Account::find(user, group)?;
    if !is_root() {
        return account.is_current().then_some(()).ok_or_else(|| PrivilegeError::NotRoot { user: user.into() });
    }
    if account.uid.is_root() {
        return Err(PrivilegeError::Root);
    }
    let Account { uid, gid, name } = account;
    let failed = |what| move |error: Errno| PrivilegeError::Failed { what, error: error.into() };
    match &name {
        Some(name) => unistd::initgroups(name, gid).map_err(failed("set the supplementary groups"))?,
        None => unistd::setgroups(&[]).map_err(failed("clear the supplementary groups"))?,
    }
    // The group first: afterwards there is no right to change it. The saved ids too: they could be taken on again.
    unistd::setresgid(gid, gid, gid).map_err(failed("change the group"))?;
    unistd::setresuid(uid, uid, uid).map_err(failed("change the user"))?;
    let users = unistd::getresuid().map_err(failed("ask for the user"))?;
    let groups = unistd::getresgid().map_err(failed("ask for the group"))?;
    let dropped =
        [users.real, users.effective, users.saved] == [uid; 3] && [groups.real, groups.effective, groups.saved] == [gid; 3];
    // A process may keep capabilities through a change of its user (capabilities(7), securebits).
    let regained = unistd::setuid(Uid::from_raw(0)).is_ok() || (gid.as_raw() != 0 && unistd::setgid(Gid::from_raw(0)).is_ok());
    if dropped && !regained { Ok(()) } else { Err(PrivilegeError::Kept) }
}

/// The number of a group, by its name or number.
pub fn group(name: &str) -> Result<u32, PrivilegeError> {
    group_id(name).map(Gid::as_raw)
}

fn group_id(name: &str) -> Result<Gid, PrivilegeError> {
    match Group::from_name(name).map_err(database(name))? {
        Some(found) => Ok(found.gid),
        None => number(name).map(Gid::from_raw).ok_or_else(|| PrivilegeError::NoGroup(name.into())),
    }
}

fn database(name: &str) -> impl FnOnce(Errno) -> PrivilegeError {
    let name = name.to_owned();
    move |error| PrivilegeError::Database { name, error: error.into() }
}

/// Raises the limit of open files (`RLIMIT_NOFILE`, soft) to `wanted`, or as far as the hard limit lets it, and gives back what it is
/// then. Never lowers it.
pub fn raise_file_limit(wanted: u64) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let raised = wanted.min(hard).max(soft);
    if raised != soft {
        setrlimit(Resource::RLIMIT_NOFILE, raised, hard)?;
    }
    Ok(raised)
}

/// Why the process cannot run as the user.
#[derive(Debug)]
#[non_exhaustive]
pub enum PrivilegeError {
    /// The user database has no such user.
    NoUser(String),
    /// The group database has no such group.
    NoGroup(String),
    /// The user is a number that the database does not know, and no group was named.
    GroupMissing(String),
    /// The user named is root.
    Root,
    /// The process is neither root nor that user, in that group.
    NotRoot {
        /// The user that was asked for.
        user: String,
    },
    /// The databases cannot be read.
    Database {
        /// The user or group that was looked for.
        name: String,
        /// Why not.
        error: io::Error,
    },
    /// The system refused a step.
    Failed {
        /// What it refused.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// Root's rights are still there, or could be had again.
    Kept,
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrivilegeError::NoUser(name) => write!(f, "there is no user {name:?}; create it (useradd --system), or name another"),
            PrivilegeError::NoGroup(name) => {
                write!(f, "there is no group {name:?}; create it (groupadd --system), or name another")
            }
            PrivilegeError::GroupMissing(user) => {
                write!(f, "user {user} is not in the user database, so that its group is not known; name a group too")
            }
            PrivilegeError::Root => f.write_str("the user to run as is root; name one without rights"),
            PrivilegeError::NotRoot { user } => write!(
                f,
                "only root can change to user {user:?} and its group, and this process runs as user {} in group {}; start it as root, or \
                 name no user, as with the systemd unit",
                unistd::geteuid(),
                unistd::getegid()
            ),
            PrivilegeError::Database { name, error } => write!(f, "{name:?} cannot be looked up in the user database: {error}"),
            PrivilegeError::Failed { what, error } => {
                write!(
                    f,
                    "cannot {what}: {error}; root needs the capabilities CAP_SETUID and CAP_SETGID for it, in a container too"
                )
            }
            PrivilegeError::Kept => {
                f.write_str("root's rights could be regained after they were given up; check the securebits of what starts it")
            }
        }
    }
}

impl std::error::Error for PrivilegeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PrivilegeError::Database { error, .. } | PrivilegeError::Failed { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Whom to run as.
#[derive(Debug)]
struct Account {
    uid: Uid,
    gid: Gid,
    /// In the user database, which has its groups by it.
    name: Option<CString>,
}

impl Account {
    fn find(user: &str, group: Option<&str>) -> Result<Account, PrivilegeError> {
        // As with chown(1): a name of digits only is a name first.
        let (uid, entry) = match User::from_name(user).map_err(database(user))? {
            Some(entry) => (entry.uid, Some(entry)),
            None => {
                let uid = Uid::from_raw(number(user).ok_or_else(|| PrivilegeError::NoUser(user.into()))?);
                (uid, User::from_uid(uid).map_err(database(user))?)
            }
        };
        let gid = match (group, &entry) {
            (Some(group), _) => group_id(group)?,
            (None, Some(entry)) => entry.gid,
            (None, None) => return Err(PrivilegeError::GroupMissing(user.into())),
        };
        Ok(Account { uid, gid, name: entry.and_then(|entry| CString::new(entry.name).ok()) })
    }

    fn is_current(&self) -> bool {
        unistd::getuid() == self.uid && unistd::geteuid() == self.uid && unistd::getegid() == self.gid
    }
}

/// A user's or group's number. The greatest one means "leave it as it is" to the system calls, so that it is none here.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|&number| digits && number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::{Command, Output};
    use std::sync::mpsc;

    use super::*;

    /// What the process started by [`in_child`] does: a test cannot give up its own rights, which the others share.
    const ACT: &str = "SMTPD_TEST_PRIVILEGES";

    /// Not a test of its own: [`in_child`] runs it in another process.
    #[test]
    #[ignore = "run by the other tests"]
    fn child() {
        let Ok(act) = std::env::var(ACT) else { return };
        let words: Vec<_> = act.split(' ').collect();
        match words[..] {
            ["drop", user] => drop_and_report(user, None),
            ["drop", user, group] => drop_and_report(user, Some(group)),
            ["limit", wanted] => {
                println!("limit: {:?}", raise_file_limit(wanted.parse().expect("a number")).map_err(|e| e.kind()))
            }
            _ => panic!("unknown: {act}"),
        }
    }

    fn drop_and_report(user: &str, group: Option<&str>) {
        // Threads that were there before.
        let (end, ends): (Vec<_>, Vec<_>) = (0..3).map(|_| mpsc::channel::<()>()).unzip();
        let threads: Vec<_> = ends.into_iter().map(|end| std::thread::spawn(move || end.recv())).collect();
        if let Err(error) = drop_to(user, group) {
            println!("error: {error}");
            return;
        }
        let tasks = std::fs::read_dir("/proc/self/task").expect("the threads");
        let status = |task: std::io::Result<std::fs::DirEntry>| {
            let status = std::fs::read_to_string(task.expect("a thread").path().join("status")).expect("its status");
            let fields = ["Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:"];
            let lines = status.lines().filter(|line| fields.iter().any(|field| line.starts_with(field)));
            lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("; ")
        };
        let statuses: Vec<_> = tasks.map(status).collect();
        println!("threads: {}", statuses.len());
        for status in statuses.iter().collect::<BTreeSet<_>>() {
            println!("status: {status}");
        }
        println!("root: {}", is_root());
        println!("regained: {}", unistd::setuid(Uid::from_raw(0)).is_ok() || unistd::setgroups(&[Gid::from_raw(0)]).is_ok());
        // The process is not root now, whatever it was.
        println!("same: {:?}", drop_to(user, group).map_err(|error| error.to_string()));
        for (other, group) in [("root", None), ("daemon", None), (user, Some("root")), (user, Some("54322"))] {
            println!("other: {}", drop_to(other, group).expect_err("another user or group"));
        }
        drop(end);
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }

    fn in_child(act: &str) -> String {
        let path = module_path!().split_once("::").expect("the crate's name is first").1;
        let Output { status, stdout, stderr } = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", &format!("{path}::child"), "--ignored", "--nocapture"])
            .env(ACT, act)
            .output()
            .expect("this test starts");
        let text = String::from_utf8_lossy(&stdout).into_owned();
        assert!(status.success(), "{text}{}", String::from_utf8_lossy(&stderr));
        text
    }

    /// What the child said in lines that begin with this word.
    fn said<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
        text.lines()
            .filter_map(|line| line.split_once(": ").filter(|(key, _)| key.ends_with(word)).map(|(_, value)| value))
            .collect()
    }

    /// Checks a drop to this user and group, if these tests run as root, or else that only who is that user already gets a yes.
    fn check(act: &str, uid: u32, gid: u32, groups: &str) {
        let text = in_child(act);
        if !is_root() && (unistd::getuid().as_raw(), unistd::getegid().as_raw()) == (uid, gid) {
            assert_eq!(said(&text, "same"), ["Ok(())"]);
            return;
        }
        if !is_root() {
            assert!(said(&text, "error")[0].contains("only root can change to user"), "{text}");
            return;
        }
        assert_eq!(said(&text, "error"), Vec::<&str>::new());
        let threads: usize = said(&text, "threads")[0].parse().expect("a number");
        assert!(threads >= 4, "{text}");
        let none = "0000000000000000";
        let groups = format!("Groups: {groups}");
        let status = format!(
            "Uid: {uid} {uid} {uid} {uid}; Gid: {gid} {gid} {gid} {gid}; {}; CapPrm: {none}; CapEff: {none}",
            groups.trim_end()
        );
        assert_eq!(said(&text, "status"), [status], "of all threads");
        assert_eq!(said(&text, "root"), ["false"]);
        assert_eq!(said(&text, "regained"), ["false"]);
        assert_eq!(said(&text, "same"), ["Ok(())"]);
        let others = said(&text, "other");
        assert!(others.len() == 4 && others.iter().all(|other| other.contains("only root can change")), "{text}");
        assert!(others[0].contains(&format!("runs as user {uid} in group {gid}; start it as root")), "{text}");
    }

    #[test]
    fn drops_to_a_user_of_the_database() {
        let nobody = User::from_name("nobody").expect("a database").expect("every system has it");
        let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
        let output = Command::new("id").args(["-G", "nobody"]).output().expect("id(1)");
        let groups = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        check("drop nobody", uid, gid, &groups);
        check(&format!("drop {uid}"), uid, gid, &groups);
    }

    #[test]
    fn a_user_can_be_checked_beforehand() {
        super::check("nobody", None).expect("every system has it");
        super::check("54321", Some("54320")).expect("numbers need not be known");
        let error = |user, group| super::check(user, group).expect_err(user).to_string();
        assert!(error("no-such-user", None).contains("no user \"no-such-user\""));
        assert!(error("nobody", Some("no-such-group")).contains("no group \"no-such-group\""));
        assert!(error("54321", None).contains("name a group"));
        assert!(error("root", None).contains("is root"));
    }

    #[test]
    fn drops_to_numbers_that_the_database_does_not_know() {
        assert_eq!(User::from_uid(Uid::from_raw(54321)), Ok(None));
        check("drop 54321 54320", 54321, 54320, "");
    }

    #[test]
    fn drops_to_another_group() {
        let nobody = User::from_name("nobody").expect("a database").expect("every system has it");
        let daemon = Group::from_name("daemon").expect("a database").expect("every system has it");
        let gid = daemon.gid.as_raw();
        check("drop nobody daemon", nobody.uid.as_raw(), gid, &gid.to_string());
    }

    #[test]
    fn the_user_it_is_needs_no_drop() {
        // Of root there is nothing to drop to.
        if !is_root() {
            let (uid, gid) = (unistd::getuid().to_string(), unistd::getegid().to_string());
            drop_to(&uid, Some(&gid)).expect("it is that user");
            drop_to(&uid, Some("54322")).expect_err("another group");
        }
        assert_eq!(is_root(), unistd::geteuid().as_raw() == 0);
    }

    #[test]
    fn says_what_is_wrong() {
        for (user, group, part) in [
            ("no-such-user", None, "there is no user \"no-such-user\"; create it"),
            ("", None, "there is no user \"\""),
            ("+54321", None, "there is no user"),
            ("-1", None, "there is no user"),
            ("a\0b", None, "there is no user"),
            ("4294967295", Some("54321"), "there is no user"),
            ("4294967296", Some("54321"), "there is no user"),
            ("nobody", Some("no-such-group"), "there is no group \"no-such-group\"; create it"),
            ("nobody", Some("4294967295"), "there is no group"),
            ("54321", None, "name a group too"),
        ] {
            let error = drop_to(user, group).expect_err(user).to_string();
            assert!(error.contains(part), "{error}");
        }
        let error = drop_to("root", None).expect_err("root").to_string();
        assert!(error.contains(if is_root() { "is root; name one without rights" } else { "only root can change" }), "{error}");
    }

    #[test]
    fn raises_the_limit_of_files_as_far_as_it_goes() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        for (wanted, expected) in [
            (0, soft),
            (soft, soft),
            (hard, hard),
            (hard.saturating_add(1), hard),
            (u64::MAX, hard),
            (soft + (hard - soft) / 2, soft + (hard - soft) / 2),
        ] {
            assert_eq!(
                said(&in_child(&format!("limit {wanted}")), "limit"),
                [format!("Ok({expected})")],
                "{wanted} of {soft}, {hard}"
            );
        }
    }
}
