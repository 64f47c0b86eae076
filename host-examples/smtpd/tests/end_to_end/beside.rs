//! Mail does not depend on what only looks at it; and what the configuration says of that can be checked.

use std::net::TcpListener;

use crate::server::{Folder, RECIPIENT, Server, Setting, message, nowhere};

fn setting(tables: &str) -> Setting {
    let Setting { tables: usual, .. } = Setting::default();
    Setting { policy: r#"{"mode": "observe"}"#, tables: format!("{usual}\n{tables}"), ..Setting::default() }
}

/// Exit status, standard output and standard error of `--check-config`.
fn check(setting: &Setting) -> (Option<i32>, String, String) {
    let output = Folder::new(setting, nowhere()).command().arg("--check-config").output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn mail_is_served_without_control_socket_and_monitor() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let monitor = taken.local_addr().unwrap();
    let tables = format!("[store]\ncontrol = \"nowhere/control.sock\"\n[monitor]\naddress = \"{monitor}\"");
    let server = Server::start(setting(&tables)).await;
    server.logged(&["ERROR", "event=\"control-unavailable\"", "nowhere/control.sock"]);
    server.logged(&["ERROR", "event=\"monitor-unavailable\"", &monitor.to_string()]);
    let mut client = server.client(server.ipv6).await;
    assert_eq!(client.transaction("a@plain.example", RECIPIENT, &message(1)).await.unwrap().code, 250);
}

#[test]
fn what_cannot_be_opened_is_an_error_of_the_configuration() {
    for (tables, part) in [
        ("[store]\ncontrol = \"nowhere/control.sock\"", "nowhere/control.sock"),
        ("[store]\ncontrol = \"policy.json\"", "is no socket"),
        // No host's address (RFC 5737).
        ("[monitor]\naddress = \"192.0.2.1:9125\"\nallow_remote = true", "192.0.2.1:9125"),
        ("[monitor]\naddress = \"192.0.2.1:9125\"", "allow_remote"),
    ] {
        let (status, _, error) = check(&setting(tables));
        assert_eq!(status, Some(1), "{tables}: {error}");
        assert!(error.contains(part), "{tables}: {error}");
    }
}

#[test]
fn what_a_running_server_holds_or_its_start_makes_is_no_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let monitor = taken.local_addr().unwrap();
    let (status, output, error) = check(&setting(&format!("[monitor]\naddress = \"{monitor}\"")));
    assert_eq!(status, Some(0), "{error}");
    assert!(output.contains(&format!("warning: monitor.address: {monitor}")), "{output}");

    let (status, output, error) = check(&setting("[store]\ncontrol = \"/run/smtp-fallback-is-not-there/control.sock\""));
    assert_eq!(status, Some(0), "{error}");
    assert!(output.contains("warning: store.control: ") && output.contains("at the start"), "{output}");

    let folder = Folder::new(&setting("[store]\ncontrol = \"control.sock\""), nowhere());
    let checked = || folder.command().arg("--check-config").output().unwrap().status.code();
    assert_eq!(checked(), Some(0));
    assert!(!folder.path().join("control.sock").exists(), "nothing is made");
    let _served = std::os::unix::net::UnixListener::bind(folder.path().join("control.sock")).unwrap();
    assert_eq!(checked(), Some(0));
    assert!(folder.path().join("control.sock").exists(), "it is left to who serves it");
}

#[tokio::test]
async fn a34_whether_arrivals_over_ipv4_are_visible_is_said() {
    let server = Server::start(setting("")).await;
    let line = server.logged(&["INFO", "event=\"ipv4-arrivals\"", "visible=false"]);
    assert!(line.contains("set ipv4_arrivals_visible = true"), "{line}");
    let Setting { top, .. } = Setting::default();
    let said = Setting { top: format!("{top}\nipv4_arrivals_visible = true"), ..setting("") };
    assert!(check(&said).1.contains("ipv4_arrivals_visible is true: the configuration says so"));
    let server = Server::start(said).await;
    server.logged(&["event=\"ipv4-arrivals\"", "visible=true"]);
}
