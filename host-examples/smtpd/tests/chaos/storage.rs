//! The Maildir cannot be written: no space, no inodes, no permission, no folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smtp_fallback_demo::client::Reply;
use smtp_fallback_demo::zone::{NameServer, Zone};

use crate::mail::{Attempt, Balance, Ledger, Route, is_own_temporary};
use crate::server::{Folder, Server, Setting, component};

const SENDER: &str = "smith@spf.example";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_for_now_and_loses_nothing() {
    fill("size=1m", 30_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_inodes_it_refuses_for_now_and_loses_nothing() {
    fill("nr_inodes=40", 500).await;
}

/// Fills a file system of its own, makes room, and fills it again.
async fn fill(limit: &str, size: usize) {
    let small = SmallDisk::start(limit).await;
    let ledger = Arc::new(Ledger::default());
    let mut removed = Vec::new();
    for round in 0..2 {
        let accepted = ledger.accepted();
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (route, ledger) = (Route::to(small.server.ipv4), Arc::clone(&ledger));
                tokio::spawn(async move { send_until_refused(&route, &ledger, round * 1000 + client * 200, size).await })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        assert!(ledger.accepted() > accepted + 5, "round {round}: {} accepted, after {accepted}", ledger.accepted());
        let kept: Vec<_> = small.folder("new").map(|path| (fs::read(&path).unwrap(), path)).collect();
        assert_eq!(small.folder("tmp").count(), 0, "a draft takes the space that is wanted");
        for (message, path) in kept {
            fs::remove_file(path).unwrap();
            removed.push(message);
        }
    }
    let Balance { accepted, refused, broken, .. } = ledger.check(&removed);
    println!("{limit}: {accepted} accepted, {refused} refused");
    assert_eq!((refused, broken), (8, 0));
    small.server.logged(&["ERROR", "event=\"delivery-failure\"", "os error 28"]);
}

async fn send_until_refused(route: &Route, ledger: &Ledger, first: u32, size: usize) {
    for number in first..first + 200 {
        let attempt = Attempt::first(number);
        let outcome = route.send(SENDER, &attempt.message(size)).await;
        ledger.note(attempt, &outcome);
        let reply = outcome.unwrap();
        if reply.code != 250 {
            assert!(reply.code == 451 && is_own_temporary(&reply, "4.3.0"), "{reply}");
            return;
        }
    }
    panic!("it never is full");
}

/// A server whose Maildir is a small file system that only it sees.
struct SmallDisk {
    server: Server,
}

impl SmallDisk {
    async fn start(limit: &str) -> SmallDisk {
        let nameserver = NameServer::start(Zone::demo()).await.unwrap();
        let folder = Folder::new(&Setting { policy: r#"{"mode": "observe"}"#, ..Setting::default() }, nameserver.addr());
        let maildir = folder.path().join("mail");
        fs::create_dir(&maildir).unwrap();
        let maildir = maildir.to_str().unwrap();
        let mount = format!("mount -t tmpfs -o mode=700,{limit} none \"$0\" && exec \"$@\"");
        // Root may mount in a namespace; another user is root in one of its own, where the system allows that.
        let unshare = if is_root(folder.path()) { "-m" } else { "-rm" };
        let starter = ["unshare", unshare, "sh", "-c", &mount, maildir];
        let trial = std::process::Command::new("unshare").args(&starter[1..]).arg("true").output();
        assert!(
            trial.as_ref().is_ok_and(|output| output.status.success()),
            "this test mounts a small file system in a namespace of its own: it needs `unshare` (util-linux), and root or user \
             namespaces (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns): {trial:?}"
        );
        SmallDisk { server: Server::start_in(folder.started_by(&starter), &[], nameserver) }
    }

    /// The files in a folder of the Maildir.
    fn folder(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let maildir = self.server.maildir();
        let seen = format!("/proc/{}/root{}", self.server.pid(), maildir.to_str().unwrap());
        fs::read_dir(Path::new(&seen).join(name)).unwrap().map(|entry| entry.unwrap().path())
    }
}

#[tokio::test]
async fn without_permission_it_refuses_for_now_and_loses_nothing() {
    let nameserver = NameServer::start(Zone::demo()).await.unwrap();
    // Permissions do not bind root: the server is another user.
    let home = tempfile::tempdir().unwrap();
    let root = is_root(home.path());
    let user = if root { "\nuser = \"nobody\"" } else { "" };
    // Where that user can read it.
    let readable = home.path().join("policy.wasm");
    fs::copy(component(), &readable).unwrap();
    fs::set_permissions(&readable, Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
    let setting = Setting {
        policy: r#"{"mode": "observe"}"#,
        top: format!("domains = [\"demo.example\"]\nmaildir = \"mail\"{user}"),
        component: readable,
        ..Setting::default()
    };
    let folder = Folder::new(&setting, nameserver.addr());
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    for name in ["smtpd.toml", "policy.json"] {
        fs::set_permissions(folder.path().join(name), Permissions::from_mode(0o644)).unwrap();
    }
    let maildir = folder.path().join("mail");
    for name in ["", "tmp", "new", "cur"] {
        let path = maildir.join(name);
        fs::create_dir(&path).unwrap();
        if root {
            let (uid, gid) = nobody();
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }
    let server = Server::start_in(folder, &[], nameserver);
    let (ledger, route) = (Ledger::default(), Route::to(server.ipv4));
    // Without `r` nothing can be synced, without `w` nothing made, without `x` nothing reached.
    let cases = ["tmp", "new"].into_iter().flat_map(|name| [0o555, 0o600, 0o333, 0].map(|mode| (name, mode)));
    for (number, (name, mode)) in cases.enumerate() {
        let path = maildir.join(name);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let number = u32::try_from(number).unwrap() * 2;
        let reply = send(&route, &ledger, number).await;
        if name == "new" || mode != 0o333 {
            assert!(reply.code == 451 && is_own_temporary(&reply, "4.3.0"), "{name} {mode:o}: {reply}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        assert_eq!(send(&route, &ledger, number + 1).await.code, 250, "{name} {mode:o}");
        assert!(server.has_no_drafts(), "{name} {mode:o}");
    }
    let balance = ledger.check(&server.delivered());
    println!("without permission: {balance:?}");
    server.logged(&["ERROR", "event=\"delivery-failure\"", "os error 13"]);
}

#[tokio::test]
async fn without_its_folders_it_refuses_for_now_and_loses_nothing() {
    let server = Server::start(Setting { policy: r#"{"mode": "observe"}"#, ..Setting::default() }).await;
    let (ledger, route) = (Ledger::default(), Route::to(server.ipv4));
    let mut number = 0;
    let maildir = server.maildir();
    for path in [maildir.join("tmp"), maildir.join("new"), maildir] {
        let aside = server.path().join("aside");
        for replacement in ["nothing", "a file", "a link to nothing"] {
            fs::rename(&path, &aside).unwrap();
            match replacement {
                "a file" => fs::write(&path, "x").unwrap(),
                "a link to nothing" => symlink("missing", &path).unwrap(),
                _ => {}
            }
            let reply = send(&route, &ledger, number).await;
            assert!(reply.code == 451 && is_own_temporary(&reply, "4.3.0"), "{replacement} for {path:?}: {reply}");
            if replacement != "nothing" {
                fs::remove_file(&path).unwrap();
            }
            fs::rename(&aside, &path).unwrap();
            assert_eq!(send(&route, &ledger, number + 1).await.code, 250, "after {replacement} for {path:?}");
            assert!(server.has_no_drafts(), "after {replacement} for {path:?}");
            number += 2;
        }
    }
    let balance = ledger.check(&server.delivered());
    assert_eq!((balance.accepted, balance.refused), (9, 9));
}

async fn send(route: &Route, ledger: &Ledger, number: u32) -> Reply {
    let attempt = Attempt::first(number);
    let outcome = route.send(SENDER, &attempt.message(500)).await;
    ledger.note(attempt, &outcome);
    outcome.unwrap()
}

/// Whether this process is root's: what it makes is then.
fn is_root(made: &Path) -> bool {
    fs::metadata(made).unwrap().uid() == 0
}

/// User and group of `nobody`.
fn nobody() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let nobody: Vec<_> = users
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut user| (user.next()? == "nobody").then_some(user))
        .unwrap()
        .collect();
    (nobody[1].parse().unwrap(), nobody[2].parse().unwrap())
}
