//! What `--check-config` finds about the records: where it says yes, the server starts.

use std::fs;

use crate::server::{Folder, Server, Setting, nowhere};

const OBSERVE: &str = r#"{"mode": "observe"}"#;

fn folder(tables: &str) -> Folder {
    let Setting { tables: usual, .. } = Setting::default();
    Folder::new(&Setting { policy: OBSERVE, tables: format!("{usual}\n{tables}"), ..Setting::default() }, nowhere())
}

/// Exit status, standard output, standard error.
fn check(folder: &Folder) -> (Option<i32>, String, String) {
    let output = folder.command().arg("--check-config").output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn settings_of_a_shared_store_that_the_start_refuses_are_errors() {
    for (table, parts) in [
        ("servers = [\"127.0.0.1:6379\"]", &["store.redis.servers", "redis://HOST:PORT"][..]),
        ("servers = []", &["store.redis.servers", "found none"]),
        ("servers = [\"redis://smith:geheim@127.0.0.1:6379\"]", &["store.redis.servers", "password_file"]),
        (
            "servers = [\"redis://127.0.0.1:1\"]\npassword_file = \"none\"",
            &["store.redis.password_file", "none", "cannot be read"],
        ),
        ("servers = [\"redis://127.0.0.1:1\"]\nusername = \"smith\"", &["store.redis.username", "password_file"]),
        ("servers = [\"redis://127.0.0.1:1\"]\nca = \"policy.json\"", &["store.redis.ca", "rediss://"]),
        ("servers = [\"rediss://127.0.0.1:1\"]\nca = \"policy.json\"", &["store.redis.ca", "no certificates"]),
        ("servers = [\"redis://127.0.0.1:1\"]\ntime_limit_ms = 100000", &["store.redis.time_limit_ms", "1 to 1000"]),
        ("servers = [\"redis://127.0.0.1:1\"]\nlocal_records = 0", &["store.redis.local_records", "at least 1"]),
        ("servers = [\"redis://127.0.0.1:1\", \"redis://127.0.0.1:2\"]", &["store.redis.servers", "cluster = true"]),
    ] {
        let (status, _, error) = check(&folder(&format!("[store.redis]\n{table}")));
        assert_eq!(status, Some(1), "{table}: {error}");
        for part in parts {
            assert!(error.contains(part), "{table}: {part:?} is not in: {error}");
        }
        assert!(!error.contains("geheim"), "no password is shown: {error}");
    }
}

#[test]
fn a_shared_store_is_not_asked() {
    // Nobody listens there.
    let (status, _, error) = check(&folder("[store.redis]\nservers = [\"redis://127.0.0.1:1\"]"));
    assert_eq!(status, Some(0), "{error}");
}

#[test]
fn a_path_that_the_start_refuses_is_an_error() {
    for (path, part) in [
        ("nowhere/records.redb", "no folder"),
        ("policy.json/records.redb", "policy.json/records.redb"),
        (".", "no regular file"),
        // Nothing can be made there, by root neither.
        ("/proc/records.redb", "/proc/records.redb"),
    ] {
        let (status, _, error) = check(&folder(&format!("[store]\npath = {path:?}")));
        assert_eq!(status, Some(1), "{path}: {error}");
        assert!(error.contains("the records in ") && error.contains(part), "{path}: {part:?} is not in: {error}");
    }
    let lock = folder("[store]\npath = \"records.redb\"");
    fs::create_dir(lock.path().join("records.redb.lock")).unwrap();
    let (status, _, error) = check(&lock);
    assert!(status == Some(1) && error.contains("records.redb.lock"), "{error}");
}

#[tokio::test]
async fn a_path_that_can_be_used_is_left_as_it_is() {
    let new = folder("[store]\npath = \"records.redb\"");
    let names = || {
        let mut names: Vec<_> = fs::read_dir(new.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    assert_eq!(check(&new), (Some(0), check(&new).1, String::new()));
    assert_eq!(names(), before, "nothing is made");
    // What is no database is set aside by the start: it is said, and not touched.
    fs::write(new.path().join("records.redb"), "no database\n").unwrap();
    let (status, output, error) = check(&new);
    assert_eq!(status, Some(0), "{error}");
    assert!(output.contains("warning: store.path: ") && output.contains("set it aside"), "{output}");
    assert_eq!(fs::read(new.path().join("records.redb")).unwrap(), b"no database\n");

    // One that a running server holds.
    let tables = "[store]\npath = \"records.redb\"".to_owned();
    let server = Server::start(Setting { policy: OBSERVE, tables, ..Setting::default() }).await;
    let held = std::process::Command::new(crate::server::PROGRAM)
        .arg("--config")
        .arg(server.path().join("smtpd.toml"))
        .arg("--check-config")
        .output()
        .unwrap();
    let output = String::from_utf8(held.stdout).unwrap();
    assert!(held.status.success() && !output.contains("store.path"), "{output}");
}
