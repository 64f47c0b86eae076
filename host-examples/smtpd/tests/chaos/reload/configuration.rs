//! SIGHUP after a change of the configuration itself, which only a restart puts in force.

use std::fs;

use super::{OBSERVE, signalled, start};
use crate::server::Server;

/// Whether the server takes mail for this domain.
async fn takes(server: &Server, domain: &str) -> bool {
    let mut client = server.client(server.ipv4).await;
    client.command("MAIL FROM:<smith@plain.example>").await.unwrap();
    client.command(&format!("RCPT TO:<jones@{domain}>")).await.unwrap().code == 250
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_named() {
    let server = start(OBSERVE, &[]).await;
    let path = server.path().join("smtpd.toml");
    let before = fs::read_to_string(&path).unwrap();
    // A comment changes nothing.
    fs::write(&path, format!("# Before.\n{before}")).unwrap();
    signalled(&server, "event=\"policy-loaded\"");
    assert!(!server.log().contains("restart-needed") && !server.log().contains("configuration-error"), "{}", server.log());

    let changed = before.replace("[\"demo.example\"]", "[\"demo.example\", \"new.example\"]").replace("[::1]:0", "[::1]:1");
    assert_ne!(changed, before);
    fs::write(&path, format!("{changed}\n[store]\nrecords = 1000\n[limits]\nidle = \"1m\"\n")).unwrap();
    for _ in 0..2 {
        signalled(&server, "event=\"restart-needed\"");
    }
    server.logged(&["WARN", "event=\"restart-needed\"", "changed=\"domains, limits.idle, listener, store.records\""]);
    assert!(takes(&server, "demo.example").await && !takes(&server, "new.example").await, "what it started with is in force");

    // As it was: nothing to say.
    let said = server.log().matches("restart-needed").count();
    fs::write(&path, before).unwrap();
    signalled(&server, "event=\"policy-loaded\"");
    assert_eq!(server.log().matches("restart-needed").count(), said);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_an_error_and_the_old_one_serves() {
    let mut server = start(OBSERVE, &[]).await;
    let path = server.path().join("smtpd.toml");
    let before = fs::read_to_string(&path).unwrap();
    for (text, part) in [
        ("domains = [".to_owned(), "smtpd.toml"),
        (before.replace("[verify]", "[verfiy]"), "verfiy"),
        (before.replace("maildir = \"mail\"", ""), "neither maildir nor [upstream]"),
    ] {
        fs::write(&path, text).unwrap();
        signalled(&server, "event=\"configuration-error\"");
        server.logged(&["ERROR", "event=\"configuration-error\"", part]);
    }
    // Nobody writes into it.
    fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    signalled(&server, "event=\"configuration-error\"");
    server.logged(&["ERROR", "event=\"configuration-error\"", "not a file"]);
    assert!(takes(&server, "demo.example").await);
    assert!(!server.log().contains("restart-needed"));
    server.terminate();
    assert!(server.ended().await.success());
}
