//! The process: command line, checking, starting, ending.

use std::process::{Command, Output};
use std::time::Duration;

use smtp_fallback_demo::client::Client;

use crate::server::{Folder, PROGRAM, RECIPIENT, Server, Setting, message, nowhere};

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

fn check(setting: &Setting) -> Output {
    Folder::new(setting, nowhere()).command().arg("--check-config").output().unwrap()
}

#[tokio::test]
async fn sigterm_finishes_what_is_in_hand() {
    let mut server = Server::start(Setting { policy: r#"{"mode": "observe"}"#, ..Setting::default() }).await;
    let mut idle = server.client(server.ipv6).await;
    let mut busy = server.client(server.ipv6).await;
    let mut slow = server.client(server.ipv4).await;
    for command in ["MAIL FROM:<a@plain.example>", "RCPT TO:<postmaster>", "DATA"] {
        busy.command(command).await.unwrap();
    }
    slow.command("MAIL FROM:<a@plain.example>").await.unwrap();
    server.terminate();
    let reply = idle.reply().await.unwrap();
    assert_eq!(reply.code, 421);
    assert!(reply.has_enhanced_code("4.3.2"), "{reply}");
    idle.closed().await.unwrap();
    // Each listener closes in its own time.
    for address in [server.ipv6, server.ipv4] {
        let mut attempts = 0;
        while Client::connect(address).await.is_ok() {
            attempts += 1;
            assert!(attempts < 100, "others are let in");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    assert_eq!(busy.message(&message(1)).await.unwrap().code, 250);
    assert_eq!(busy.reply().await.unwrap().code, 421);
    busy.closed().await.unwrap();
    assert_eq!(slow.command(&format!("RCPT TO:<{RECIPIENT}>")).await.unwrap().code, 250);
    assert_eq!(slow.command("DATA").await.unwrap().code, 354);
    assert_eq!(slow.message(&message(2)).await.unwrap().code, 250);
    assert_eq!(slow.reply().await.unwrap().code, 421);
    drop((idle, busy, slow));
    assert!(server.ended().await.success(), "{}", server.log());
    assert_eq!(server.delivered().len(), 2);
}

#[tokio::test]
async fn a_second_sigterm_does_not_wait() {
    let mut server = Server::start(Setting { policy: r#"{"mode": "observe"}"#, ..Setting::default() }).await;
    let mut slow = server.client(server.ipv4).await;
    slow.command("MAIL FROM:<a@plain.example>").await.unwrap();
    server.terminate();
    server.logged(&["finishing what is in hand"]);
    server.terminate();
    assert_eq!(slow.reply().await.unwrap().code, 421);
    slow.closed().await.unwrap();
    drop(slow);
    assert!(server.ended().await.success());
    assert!(!server.log().contains("cut off"), "the session ended by itself:\n{}", server.log());
}

#[tokio::test]
async fn a15_without_a_maildir_451_4_3_0() {
    let server = Server::start(Setting { policy: r#"{"mode": "observe"}"#, ..Setting::default() }).await;
    let mut client = server.client(server.ipv6).await;
    std::fs::rename(server.maildir(), server.maildir().with_extension("gone")).unwrap();
    let reply = client.transaction("a@plain.example", RECIPIENT, &message(1)).await.unwrap();
    assert_eq!(reply.code, 451);
    assert!(reply.has_enhanced_code("4.3.0"), "{reply}");
    server.logged(&["ERROR", "event=\"delivery-failure\""]);
    std::fs::rename(server.maildir().with_extension("gone"), server.maildir()).unwrap();
    assert!(server.delivered().is_empty() && server.has_no_drafts());
    let reply = client.transaction("a@plain.example", RECIPIENT, &message(1)).await.unwrap();
    assert_eq!(reply.code, 250, "{reply}");
}

#[test]
fn check_config_says_yes() {
    let folder = Folder::new(&Setting { policy: r#"{"mode": "observe"}"#, ..Setting::default() }, nowhere());
    let output = folder.command().arg("--check-config").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("observe mode"), "{}", text(&output.stdout));
    assert!(!folder.path().join("mail").exists(), "nothing is made");
}

#[test]
fn check_config_says_what_is_wrong() {
    let cases = [
        (
            Setting { policy: "{\n  \"mode\": \"enfroce\"\n}", ..Setting::default() },
            &["policy.json", "line 2", "/mode", "enforce"][..],
        ),
        (Setting { policy: "{", ..Setting::default() }, &["policy.json", "line 1"]),
        (Setting { component: "missing.wasm".into(), ..Setting::default() }, &["missing.wasm", "cargo xtask component"]),
        (
            Setting {
                top: "domains = [\"demo.example\"]\nmaildir = \"mail\"\ncomponent_cache = \"policy.json\"".into(),
                policy: "{",
                ..Setting::default()
            },
            &["policy.json", "line 1"],
        ),
        (Setting { tables: "[limits]\nidle = \"soon\"".into(), ..Setting::default() }, &["smtpd.toml", "found \"soon\"", "5m"]),
        (
            Setting { tables: "[limits]\nidel = \"5m\"".into(), ..Setting::default() },
            &["smtpd.toml", "unknown field `idel`", "`idle`"],
        ),
        (
            Setting { tables: "[tls]\ncertificate = \"policy.json\"\nkey = \"mx.key\"".into(), ..Setting::default() },
            &["policy.json", "no certificate", "[tls]"],
        ),
        (
            Setting {
                top: "domains = [\"demo.example\"]\nmaildir = \"mail\"\nuser = \"no-such-user\"".into(),
                ..Setting::default()
            },
            &["no user \"no-such-user\"", "useradd"],
        ),
    ];
    for (setting, parts) in cases {
        let output = check(&setting);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }
}

#[test]
fn check_config_shows_warnings_and_all_errors() {
    // The Maildir would be below a file.
    let folder = Folder::new(&Setting { policy: "{\"a\": 1}", ..Setting::default() }, nowhere());
    let path = folder.path().join("smtpd.toml");
    let configuration = std::fs::read_to_string(&path).unwrap().replace("\"mail\"", "\"policy.json/mail\"");
    std::fs::write(&path, configuration).unwrap();
    let output = folder.command().arg("--check-config").output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("policy.json/mail") && error.contains("\"a\""), "{error}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let server = Server::start(Setting { policy: r#"{"mode": "observe"}"#, ..Setting::default() }).await;
    let folder = Folder::new(&Setting { policy: r#"{"mode": "observe"}"#, ..Setting::default() }, nowhere());
    let path = folder.path().join("smtpd.toml");
    let configuration = std::fs::read_to_string(&path).unwrap().replace("[::1]:0", &server.ipv6.to_string());
    std::fs::write(&path, configuration).unwrap();
    let output = folder.command().output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(&server.ipv6.to_string()) && error.contains("another process"), "{error}");
}

#[test]
fn the_command_line_helps() {
    let run = |arguments: &[&str]| Command::new(PROGRAM).args(arguments).output().unwrap();
    let output = run(&["--help"]);
    assert!(output.status.success() && text(&output.stdout).contains("--check-config"));
    assert!(text(&run(&["--version"]).stdout).starts_with("smtp-fallback-smtpd 0."));
    for arguments in [&[][..], &["--nonsense"], &["--config"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("--config"), "{}", text(&output.stderr));
    }
    let output = run(&["--config", "/no/such/file.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/no/such/file.toml"));
}
