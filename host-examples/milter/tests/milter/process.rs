//! The process: its sockets, its signals, its command line, and an MTA that does not keep to the protocol.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::mta::{Mta, POSTFIX, Reply};
use crate::program::{Milter, PASSING, PLAIN, POLICY, PROGRAM, Setting, command, folder, message};

#[allow(unreachable_pub, reason = "it is shared with the tests of another package")]
#[path = "../../../embed/tests/common/mod.rs"]
pub(crate) mod fixture;

const IPV6: &str = "2001:db8::25";

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_mta_is_sent_away_and_others_are_served_on() {
    let milter = Milter::start(Setting::default()).await;
    let mut mta = milter.session(IPV6);
    // It looks whether the socket is there.
    drop(Mta::silent(&milter.socket("unix")));
    for octets in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\0\0\0\0",
        b"\xff\xff\xff\xffO",
        b"\0\0\0\x01C",
        b"\0\0\0\x0dO\0\0\0\x01\0\0\0\0\0\0\0\0",
    ] {
        let mut other = Mta::silent(&milter.socket("unix"));
        other.send_raw(octets);
        assert_eq!(other.reply(), Reply::Closed, "{}", octets.escape_ascii());
    }
    milter.logged(&["ERROR", "event=\"mta-failure\""]);
    // In the middle of a session.
    let mut other = milter.session(IPV6);
    assert_eq!(other.command(b'E', b""), Reply::Closed, "the end of a message that has not begun");
    assert_eq!(mta.message(PLAIN, "A1", &message(1)).code(), "421");
    milter.logged(&["event=\"mta-failure\"", "outside a message"]);
    milter.logged_times(6, &["event=\"mta-failure\""]);
    assert!(!milter.log().contains("internal-error"), "{}", milter.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_traps_refuses_nobody() {
    let component = tempfile::tempdir().unwrap();
    let path = component.path().join("traps.wasm");
    std::fs::write(&path, fixture::traps_sometimes()).unwrap();
    let milter = Milter::start(Setting { component: path, policy: "{}".to_owned(), ..Setting::default() }).await;
    let mut codes = std::collections::BTreeMap::<String, usize>::new();
    for number in 0..60 {
        let mut mta = milter.session("192.0.2.25");
        if mta.mail(PLAIN) == Reply::Continue {
            mta.rcpt("jones@demo.example");
            *codes.entry(mta.text("A1", &message(number)).code().to_owned()).or_default() += 1;
        }
    }
    let log = milter.log();
    assert!(log.contains("the policy failed") && log.contains("policy-failed"), "{log}");
    assert!(codes.get("250").is_some_and(|passed| *passed > 10), "{codes:?}");
    // What it refuses is the component's own word, in the other half of its calls.
    let failed = log.lines().filter(|line| line.contains("policy-failed"));
    assert!(failed.clone().all(|line| !line.contains("verdict=\"refuse\"")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_the_message_in_hand() {
    let mut milter = Milter::start(Setting::default()).await;
    let mut idle = milter.session(IPV6);
    let mut busy = milter.session(IPV6);
    assert_eq!(busy.mail(PLAIN), Reply::Continue);
    let socket = milter.path().join("milter.sock");
    assert!(socket.exists());
    milter.signal("TERM");
    assert_eq!(idle.reply(), Reply::Closed);
    milter.logged(&["event=\"shutdown\""]);
    busy.rcpt("jones@demo.example");
    assert_eq!(busy.text("A1", &message(1)).code(), "421");
    assert_eq!(busy.reply(), Reply::Closed);
    assert!(milter.ended().success(), "{}", milter.log());
    assert!(!socket.exists());
    milter.logged(&["event=\"stopped\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_puts_another_policy_in_force_and_names_what_needs_a_restart() {
    let milter = Milter::start(Setting::default()).await;
    assert_eq!(milter.session(IPV6).message(PLAIN, "A1", &message(1)).code(), "421");
    let mut begun = milter.session(IPV6);
    assert_eq!((begun.mail(PLAIN), begun.rcpt("jones@demo.example")), (Reply::Continue, Reply::Continue));
    let config = milter.path().join("milter.toml");
    let changed = std::fs::read_to_string(&config).unwrap().replace("log = \"debug\"", "log = \"info\"\nbehind_front = false");
    std::fs::write(&config, changed).unwrap();
    std::fs::write(milter.path().join("policy.json"), POLICY.replace("enforce", "observe")).unwrap();
    milter.signal("HUP");
    milter.logged(&["event=\"policy-loaded\"", "mode=\"observe\""]);
    milter.logged(&["WARN", "event=\"restart-needed\"", "changed=\"behind_front, log\""]);
    assert_eq!(milter.session(IPV6).message(PLAIN, "A2", &message(2)), Reply::Continue);
    // Also for a message that had begun.
    assert_eq!(begun.text("A4", &message(4)), Reply::Continue);
    // A bad one changes nothing.
    std::fs::write(milter.path().join("policy.json"), "{").unwrap();
    milter.signal("HUP");
    milter.logged(&["ERROR", "event=\"policy-kept\""]);
    assert_eq!(milter.session(IPV6).message(PLAIN, "A3", &message(3)), Reply::Continue);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut milter = Milter::start_with(Setting::default(), &[("NOTIFY_SOCKET", path.to_str().unwrap())]).await;
    let received = || {
        let mut buffer = [0; 200];
        let length = manager.recv(&mut buffer).unwrap();
        text(&buffer[..length])
    };
    assert_eq!(received(), "READY=1\n");
    milter.signal("HUP");
    assert!(received().starts_with("RELOADING=1\n"));
    assert_eq!(received(), "READY=1\n");
    milter.signal("TERM");
    assert_eq!(received(), "STOPPING=1\n");
    assert!(milter.ended().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed() {
    let tables = "[limits]\nconnections = 2";
    let milter = Milter::start(Setting { tables, ..Setting::default() }).await;
    let (one, mut other) = (milter.session(IPV6), milter.session(IPV6));
    let mut third = Mta::silent(&milter.socket("unix"));
    assert_eq!(third.reply(), Reply::Closed);
    milter.logged(&["event=\"too-many-connections\"", "limit=2"]);
    assert_eq!(other.message(&format!("smith@{PASSING}"), "A1", &message(1)), Reply::Continue);
    one.quit();
    // The place is free a moment after the connection is closed.
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut another = loop {
        match Mta::try_connect(&milter.socket("unix"), POSTFIX) {
            Some(mta) => break mta,
            None => assert!(Instant::now() < deadline, "{}", milter.log()),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(another.client(IPV6), Reply::Continue);
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_have_their_mode_and_group_and_dead_ones_are_taken_over() {
    use std::os::unix::fs::MetadataExt as _;
    let group = nix::unistd::getgid();
    for (top, mode) in [("socket_mode = \"0600\"", 0o600), ("socket_mode = \"0660\"", 0o660), ("", 0o660)] {
        let milter = Milter::start(Setting::top(top)).await;
        let found = milter.path().join("milter.sock").metadata().unwrap();
        assert_eq!((found.permissions().mode() & 0o777, found.gid()), (mode, group.as_raw()));
    }
    let setting = Setting::default();
    let folder = folder(&setting, "127.0.0.1:1");
    let socket = folder.path().join("milter.sock");
    let served = UnixListener::bind(&socket).unwrap();
    let output = command(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("another process serves the socket"), "{}", text(&output.stderr));
    drop(served);
    // Its file is left.
    assert!(socket.exists());
    let mut child = command(folder.path()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn check(setting: &Setting) -> Output {
    command(folder(setting, "127.0.0.1:1").path()).arg("--check-config").output().unwrap()
}

#[test]
fn check_config_says_yes_or_what_is_wrong() {
    let output = check(&Setting::default());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.contains("milter.toml can be used; the policy is in enforce mode") && said.contains("smtp-fallback mx"),
        "{said}"
    );
    assert!(said.contains("ipv4_arrivals_visible is false"), "{said}");
    for (setting, parts) in [
        (
            Setting { policy: "{\"mode\": \"enfroce\"}".to_owned(), ..Setting::default() },
            &["policy.json", "/mode", "enforce"][..],
        ),
        (Setting { component: "missing.wasm".into(), ..Setting::default() }, &["missing.wasm"]),
        (Setting::top("socket_group = \"nobody-has-this\""), &["socket_group: there is no group", "groupadd"]),
        (Setting::top("socket_mode = \"0666\""), &["socket_mode", "\"0660\""]),
        (Setting::top("behind_front = true"), &["behind_front", "trusted_fronts"]),
        (Setting::top("user = \"nobody-has-this\""), &["nobody-has-this"]),
        (Setting { listen: "\"milter.sock\"", ..Setting::default() }, &["listen", "found \"milter.sock\", expected unix:"]),
        (Setting { listen: "", ..Setting::default() }, &["listen", "at least one"]),
        (Setting { listen: "\"unix:a\", \"local:a\"", ..Setting::default() }, &["listen: found unix:a twice"]),
        (Setting::top("authserv_ids = [\"\"]"), &["authserv_ids", "mx.demo.example"]),
        (Setting { tables: "[limits]\nidle = \"1s\"", ..Setting::default() }, &["found \"1s\", expected 1 min to 24 h"]),
        (
            Setting { tables: "[limits]\nmessage_memory = \"1MiB\"", ..Setting::default() },
            &["limits.message_memory", "message_size"],
        ),
        (Setting { tables: "[store]\npath = \"/nowhere/at/all\"", ..Setting::default() }, &["/nowhere/at/all"]),
    ] {
        let output = check(&setting);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)) && said.starts_with("smtp-fallback-milter: "), "{parts:?}: {said}");
    }
}

#[test]
fn the_command_line() {
    let run = |arguments: &[&str]| Command::new(PROGRAM).args(arguments).output().unwrap();
    let help = run(&["--help"]);
    assert!(help.status.success() && text(&help.stdout).contains("--observe") && text(&help.stdout).contains("SIGHUP"));
    assert_eq!(text(&run(&["--version"]).stdout), format!("smtp-fallback-milter {}\n", env!("CARGO_PKG_VERSION")));
    let wrong = run(&["--observ"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("\"--observ\" is no option"));
    let missing = run(&["--config", "/nowhere/milter.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/nowhere/milter.toml cannot be read"), "{}", text(&missing.stderr));
}
