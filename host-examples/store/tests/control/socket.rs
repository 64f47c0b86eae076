//! The file of the socket: its rights, and who may put it where.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use smtp_fallback_store::control::{Control, ControlError, ControlStore, DEFAULT_MODE};

use crate::host::{Asked, Host};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn has_the_mode_asked_for_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    for asked in [DEFAULT_MODE, 0o660, 0o600, 0o700] {
        let control = Control::bind(&path, asked, None).unwrap();
        assert_eq!(mode(&path), asked);
        assert_eq!(control.path(), path);
        assert_eq!(entries(directory.path()), ["control.sock"]);
        drop(control);
        assert_eq!(entries(directory.path()), [""; 0]);
    }
}

#[test]
fn is_never_open_to_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    for asked in [0o666, 0o602, 0o604, 0o777, 0o1600, 0o4600, 0o60, 0] {
        let error = Control::bind(&path, asked, None).unwrap_err();
        assert!(matches!(error, ControlError::Mode { .. }), "{error}");
        assert!(error.to_string().contains("expected 0600, or 0660 with a group"), "{error}");
    }
    assert_eq!(entries(directory.path()), [""; 0]);
}

#[test]
fn nobody_else_can_reach_it_while_it_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let (done, sockets, directories) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let look = |path: &Path| {
        // It may be gone by now.
        let Ok(found) = fs::symlink_metadata(path) else { return };
        // What is made is 0755 at first with the usual umask.
        assert_eq!(found.permissions().mode() & 0o077, 0, "{found:?}");
        if found.is_dir() { &directories } else { &sockets }.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                look(&path);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::read_dir(directory.path()).unwrap().for_each(|entry| look(&entry.unwrap().path()));
            }
        });
        for _ in 0..400 {
            drop(Control::bind(&path, DEFAULT_MODE, None).unwrap());
        }
        done.store(true, Ordering::Relaxed);
    });
    let seen = (sockets.into_inner(), directories.into_inner());
    assert!(seen.0 > 20 && seen.1 > 2, "hardly anybody looked: {seen:?}");
}

#[test]
fn belongs_to_the_group_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let root = nix::unistd::geteuid().is_root();
    let group = if root { 12_345 } else { nix::unistd::getegid().as_raw() };
    let _control = Control::bind(&path, 0o660, Some(group)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().gid(), group);
    assert_eq!(mode(&path), 0o660);
}

#[test]
fn a_running_host_keeps_its_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let control = Control::bind(&path, DEFAULT_MODE, None).unwrap();
    let error = Control::bind(&path, DEFAULT_MODE, None).unwrap_err();
    assert!(matches!(error, ControlError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("another process serves"), "{error}");
    assert!(path.exists());
    drop(control);
    // One that does not take connections, with a full queue, serves too.
    let silent = UnixListener::bind(&path).unwrap();
    let mut waiting = Vec::new();
    silent.set_nonblocking(true).unwrap();
    std::thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let path = &path;
        scope.spawn(move || {
            // The last one hangs until the listener is gone.
            for _ in 0..5000 {
                match UnixStream::connect(path) {
                    Ok(stream) => sender.send(stream).unwrap(),
                    Err(_) => return,
                }
            }
        });
        while let Ok(stream) = receiver.recv_timeout(std::time::Duration::from_millis(500)) {
            waiting.push(stream);
        }
        let error = Control::bind(path, DEFAULT_MODE, None).unwrap_err();
        assert!(matches!(error, ControlError::InUse { .. }), "{error}");
        drop(silent);
    });
}

#[test]
fn a_dead_hosts_socket_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap()); // std leaves the file, as a kill does.
    assert!(path.exists());
    let _control = Control::bind(&path, DEFAULT_MODE, None).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    fs::write(&path, "precious").unwrap();
    let error = Control::bind(&path, DEFAULT_MODE, None).unwrap_err();
    assert!(matches!(error, ControlError::NotASocket { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    // A link to a socket is no socket either.
    let elsewhere = directory.path().join("elsewhere");
    drop(UnixListener::bind(&elsewhere).unwrap());
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    let error = Control::bind(&path, DEFAULT_MODE, None).unwrap_err();
    assert!(matches!(error, ControlError::NotASocket { .. }), "{error}");
    assert!(elsewhere.exists());
}

#[test]
fn errors_name_the_path() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing/control.sock");
    let error = Control::bind(&missing, DEFAULT_MODE, None).unwrap_err().to_string();
    assert!(error.contains("missing/control.sock") && error.contains("check that its directory exists"), "{error}");
    let long = directory.path().join("x".repeat(96));
    let error = Control::bind(&long, DEFAULT_MODE, None).unwrap_err();
    assert!(matches!(error, ControlError::PathTooLong { max: 95, .. }), "{error}");
    for wrong in ["/", "a/..", "a\0b"] {
        let error = Control::bind(wrong, DEFAULT_MODE, None).unwrap_err();
        assert!(error.to_string().contains("expected the name of a file"), "{error}");
    }
    // The longest.
    let length = 95 - directory.path().as_os_str().len() - 1;
    let control = Control::bind(directory.path().join("x".repeat(length)), DEFAULT_MODE, None).unwrap();
    UnixStream::connect(control.path()).unwrap();
}

#[test]
fn only_the_own_file_is_removed_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let control = Control::bind(&path, DEFAULT_MODE, None).unwrap();
    // Somebody removed it, and another host made its own.
    fs::remove_file(&path).unwrap();
    let other = Control::bind(&path, DEFAULT_MODE, None).unwrap();
    drop(control);
    UnixStream::connect(&path).unwrap();
    drop(other);
    assert!(!path.exists());
}

#[test]
fn of_hosts_that_start_at_once_one_serves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    for _ in 0..20 {
        drop(UnixListener::bind(&path).unwrap()); // A dead one's is there.
        let start = Arc::new(Barrier::new(8));
        let hosts: Vec<_> = (0..8)
            .map(|_| {
                let (path, start) = (path.clone(), Arc::clone(&start));
                std::thread::spawn(move || {
                    start.wait();
                    Control::bind(&path, DEFAULT_MODE, None)
                })
            })
            .collect();
        let hosts: Vec<_> = hosts.into_iter().map(|host| host.join().unwrap()).collect();
        assert_eq!(hosts.iter().filter(|host| host.is_ok()).count(), 1);
        for host in hosts.iter().filter_map(|host| host.as_ref().err()) {
            assert!(matches!(host, ControlError::InUse { .. }), "{host}");
        }
        UnixStream::connect(&path).unwrap();
        drop(hosts);
        assert!(!path.exists());
    }
}

/// Set for the process that [`connects_as`] starts.
const CONNECT_TO: &str = "CONTROL_TEST_CONNECT_TO";

/// Not a test of its own: [`connects_as`] runs it as another user.
#[tokio::test]
#[ignore = "run by the other tests"]
async fn child() {
    let Ok(path) = std::env::var(CONNECT_TO) else { return };
    match ControlStore::connect(path).await {
        Ok(store) => println!("health: {:?}", store.host_health().await.map(|health| health.kind)),
        Err(error) => println!("error: {error}"),
    }
}

/// What a client of this user and group says.
fn connects_as(directory: &Path, path: &Path, user: u32, group: u32) -> String {
    // Where that user can run it.
    let program = directory.join("client");
    if !program.exists() {
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new(program)
        .args(["--exact", "socket::child", "--ignored", "--nocapture"])
        .env(CONNECT_TO, path)
        .current_dir(directory)
        .uid(user)
        .gid(group)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    text.lines().find(|line| line.contains("health: ") || line.contains("error: ")).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_users_stay_outside() {
    if !nix::unistd::geteuid().is_root() {
        return; // Only root can be somebody else.
    }
    const OTHER: u32 = 54_321;
    const GROUP: u32 = 54_322;
    let host = Host::start();
    let directory = host.directory.path();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let refused = connects_as(directory, &host.path(), OTHER, GROUP);
    assert!(refused.contains("may not connect") && refused.contains("user 0, group 0, mode 0600"), "{refused}");
    // Another socket, of a group.
    let shared = directory.join("shared.sock");
    let control = Control::bind(&shared, 0o660, Some(GROUP)).unwrap();
    let store = Arc::clone(&host.store);
    let serving = tokio::spawn(async move { control.serve(store, Arc::new(Asked)).await });
    let taken = connects_as(directory, &shared, OTHER, GROUP);
    assert!(taken.contains("health: Ok(\"memory\")"), "{taken}");
    let refused = connects_as(directory, &shared, OTHER, OTHER);
    assert!(refused.contains("may not connect") && refused.contains("group 54322, mode 0660"), "{refused}");
    // At its end it takes its socket with it.
    serving.abort();
    assert!(serving.await.is_err());
    assert!(!shared.exists());
}
