//! smtpd that root has started, and that is root no longer.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use smtp_fallback_demo::server::DEMO_POLICY;
use smtp_fallback_demo::zone::PLAIN_DOMAIN;
use smtp_fallback_interop::{Setting, Smtpd};

use crate::message;

/// What /proc says of the process under this name.
fn status(smtpd: &Smtpd, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", smtpd.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
}

/// User and group of a name in this system's list.
fn ids(name: &str) -> (u32, u32) {
    let user = nix::unistd::User::from_name(name).unwrap().unwrap();
    (user.uid.as_raw(), user.gid.as_raw())
}

/// A port that only root can bind, free for both families.
fn low_port() -> u16 {
    (600..1024)
        .rev()
        .find(|&port| TcpListener::bind(("::1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_binds_as_root_and_serves_as_nobody() {
    let (uid, gid) = ids("nobody");
    let mut setting = Setting::maildir();
    setting.top.push_str("user = \"nobody\"\n");
    let port = low_port();
    setting.listeners = setting.listeners.replace(":0\"", &format!(":{port}\""));
    let smtpd = Smtpd::start(setting).await;
    assert_eq!(smtpd.ipv6.port(), port);
    // Real, effective, saved and that of the file system.
    assert_eq!(status(&smtpd, "Uid"), format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(status(&smtpd, "Gid"), format!("{gid} {gid} {gid} {gid}"));
    assert!(["", &gid.to_string()].contains(&status(&smtpd, "Groups").as_str()), "{}", status(&smtpd, "Groups"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(&smtpd, set), "0000000000000000", "{set}");
    }
    assert!(!smtpd.log().contains("running-as-root"), "{}", smtpd.log());

    let sender = format!("smith@{PLAIN_DOMAIN}");
    assert_eq!(smtpd.send(smtpd.ipv6, &sender, &message(1)).await.code, 250);
    assert_eq!(smtpd.delivered().len(), 1);
    let file = fs::read_dir(smtpd.path().join("mail/box/new")).unwrap().next().unwrap().unwrap().path();
    for path in [file, smtpd.path().join("mail/box"), smtpd.path().join("mail/box/new")] {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (uid, gid), "{}", path.display());
        assert_eq!(metadata.mode() & 0o007, 0, "{} is nobody else's business", path.display());
    }

    // What is read again is read by that user.
    let policy = smtpd.path().join("policy.json");
    fs::write(&policy, DEMO_POLICY).unwrap();
    smtpd.hangup();
    smtpd.logged(&["policy-loaded", "mode=\"enforce\""]);
    let reply = smtpd.send(smtpd.ipv6, &sender, &message(2)).await;
    assert_eq!(reply.code, 421, "{reply}");
    assert!(reply.has_enhanced_code("4.4.8"), "{reply}");
    fs::write(&policy, "{\"mode\": \"observe\"}").unwrap();
    fs::set_permissions(&policy, Permissions::from_mode(0o600)).unwrap();
    smtpd.hangup();
    smtpd.logged(&["policy-kept"]);
    assert_eq!(smtpd.send(smtpd.ipv6, &sender, &message(3)).await.code, 421, "what was in force stays in force");
    fs::set_permissions(&policy, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(smtpd.send(smtpd.ipv4, &sender, &message(4)).await.code, 250);
    assert_eq!(smtpd.delivered().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_root_it_says_so() {
    let smtpd = Smtpd::start(Setting::maildir()).await;
    smtpd.logged(&["WARN", "running-as-root", "`user`"]);
    assert_eq!(status(&smtpd, "Uid"), "0 0 0 0");
}
