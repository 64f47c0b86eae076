//! The program from outside: a process, a control socket, records that the policy module made.
#![allow(clippy::unwrap_used)] // A test may panic.

mod exempt;
mod get;
mod host;
mod mx;
mod transfer;
mod version;

use std::process::Stdio;
use std::time::{Duration, UNIX_EPOCH};

use host::{CLIENT, Host, NETWORK, program, run};
use smtp_fallback_policy::contract::Verdict;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shows_what_is_known_about_a_client() {
    let host = Host::start();
    host.mail(CLIENT, "mail.sender.example", 1).await;
    let ran = host.run(&["cache", "get", CLIENT]).await;
    assert_eq!((ran.status, ran.error.as_str()), (0, ""), "{ran:?}");
    for part in [
        "network 2001:db8:1:2::/64\n",
        "address 2001:db8:1:2::25\n",
        "0.0 messages passed and 1.0 failed",
        "1 refused mail not seen since",
        "\"sender.example\" from 2001:db8:1:2::/64, EHLO \"mail.sender.example\"",
        "lacked SPF=none, DKIM=none",
        "refused once, 20",
    ] {
        assert!(ran.out.contains(part), "{part} is not in\n{}", ran.out);
    }
    let network = host.run(&["cache", "get", NETWORK]).await;
    assert!(network.out.contains("refused once") && !network.out.contains("address"), "{network:?}");
    let json = host.run(&["cache", "get", CLIENT, "--json"]).await;
    let kinds: Vec<String> = json
        .out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["network", "address", "exact"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_records_by_kind_and_number() {
    let host = Host::start();
    for number in 0..3 {
        host.mail(CLIENT, "mail.sender.example", number).await;
    }
    let all = host.run(&["cache", "show"]).await;
    assert_eq!(all.out.lines().count(), 6, "address, network, three mails, and their sender: {}", all.out);
    let mails = host.run(&["cache", "show", "--kind", "exact", "--limit", "2"]).await;
    assert_eq!(mails.out.lines().count(), 2);
    assert!(mails.out.lines().all(|line| line.starts_with("exact     exact:")), "{}", mails.out);
    assert!(mails.error.contains("more than 2"), "{}", mails.error);
    let name = mails.out.split_whitespace().nth(1).unwrap();
    let mail = host.run(&["cache", "get", name]).await;
    assert!(mail.status == 0 && mail.out.starts_with(&format!("mail {name}\n")), "{mail:?}");
    let none = host.run(&["cache", "show", "--kind", "budget"]).await;
    assert_eq!((none.status, none.out.as_str()), (1, ""));
    let zero = host.run(&["cache", "show", "--limit", "0"]).await;
    assert_eq!((zero.status, zero.out.as_str()), (2, ""));
    assert!(zero.error.contains("--limit") && zero.error.contains("expected a number from 1"), "{}", zero.error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgets_and_says_what() {
    let host = Host::start();
    host.mail(CLIENT, "mail.sender.example", 1).await;
    let ran = host.run(&["cache", "delete", CLIENT]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    let expected = "deleted the record of network 2001:db8:1:2::/64\ndeleted the record of address 2001:db8:1:2::25\n";
    assert_eq!(ran.out, expected);
    assert_eq!(host.records(), 2, "its mail and its sender");
    let again = host.run(&["cache", "delete", CLIENT]).await;
    assert_eq!((again.status, again.out.as_str()), (1, ""));
    assert!(again.error.contains("nothing is known about 2001:db8:1:2::25"), "{}", again.error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p15_lets_a_network_in_for_a_time() {
    let host = Host::start();
    assert!(matches!(host.mail(CLIENT, "mail.sender.example", 1).await.verdict, Verdict::Refuse(_)));
    let ran = host.run(&["cache", "exempt", CLIENT, "--for", "7d"]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.out.starts_with("2001:db8:1:2::/64 is let in for 7 days, until 20"), "{}", ran.out);
    assert!(ran.out.ends_with("To end it: smtp-fallback cache exempt 2001:db8:1:2::/64 --for 0s\n"), "{}", ran.out);
    assert_eq!(host.mail("2001:db8:1:2::99", "other.example", 2).await.verdict, Verdict::Accept);
    // What it said is what is in force.
    let json = host.run(&["cache", "get", NETWORK, "--json"]).await.out;
    let json: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    let time = |name: &str| json["let-in"][name].as_u64().unwrap();
    assert_eq!(time("until") - time("since"), 7 * 24 * 3600);
    let until = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time("until")));
    assert!(ran.out.contains(&format!("until {until}\n")), "{until}: {}", ran.out);
    let known = host.run(&["cache", "get", NETWORK]).await;
    assert!(known.out.contains("let in until") && known.out.contains("by an operator"), "{}", known.out);
    // What was known before is still known.
    assert!(known.out.contains("2.0 failed"), "{}", known.out);
    let ended = host.run(&["cache", "exempt", NETWORK, "--for", "0s"]).await;
    assert_eq!(ended.out, "2001:db8:1:2::/64 is no longer let in\n");
    assert!(matches!(host.mail(CLIENT, "mail.sender.example", 3).await.verdict, Verdict::Refuse(_)));
    for time in ["59s", "2years", "soon", "7"] {
        let wrong = host.run(&["cache", "exempt", CLIENT, "--for", time]).await;
        assert_eq!(wrong.status, 2, "{time}: {wrong:?}");
        assert!(wrong.error.contains("expected a time"), "{time}: {}", wrong.error);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_can_be_imported_elsewhere() {
    let (here, there) = (Host::start(), Host::start());
    here.mail(CLIENT, "mail.sender.example", 1).await;
    let file = here.folder.path().join("records.json");
    let file = file.to_str().unwrap();
    let exported = here.run(&["cache", "export", file]).await;
    assert!(exported.error.contains("4 records written"), "{exported:?}");
    let refused = here.run(&["cache", "export", file]).await;
    assert_eq!(refused.status, 2, "a file that is there is not written over");
    let imported = there.run(&["cache", "import", file]).await;
    assert!(imported.error.contains("4 records imported, 0 were there already, 0 had expired"), "{imported:?}");
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (one, other) = (here.run(&["cache", "export", "-"]).await, there.run(&["cache", "export", "-"]).await);
    assert_eq!(sorted(one.out), sorted(other.out));
    let again = there.run(&["cache", "import", file]).await;
    assert!(again.error.contains("0 records imported, 4 were there already"), "{again:?}");
    let replaced = there.run(&["cache", "import", file, "--replace"]).await;
    assert!(replaced.error.contains("4 records imported"), "{replaced:?}");
    // The mail is recognised there: it is linked to its refusal.
    assert!(there.mail(CLIENT, "mail.sender.example", 1).await.linked.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_one_wrong_line_imports_nothing() {
    let (here, there) = (Host::start(), Host::start());
    here.mail(CLIENT, "mail.sender.example", 1).await;
    let good = here.run(&["cache", "export", "-"]).await.out;
    let file = here.folder.path().join("records.json");
    let lines = good.lines().count();
    for (wrong, part) in [
        ("{}", "missing field"),
        ("nonsense", "expected"),
        (r#"{"key":{"kind":"network","network":"2001:db8::/64"},"value":"?","expires-at":9999999999,"weight":1}"#, "base64"),
        (
            r#"{"key":{"kind":"network","network":"2001:db8::/64"},"value":"AQ==","expires-at":9999999999,"weight":1}"#,
            "no network record",
        ),
    ] {
        std::fs::write(&file, format!("{good}{wrong}\n")).unwrap();
        let ran = there.run(&["cache", "import", file.to_str().unwrap()]).await;
        assert_eq!(ran.status, 2);
        assert!(ran.error.contains(&format!("line {}: ", lines + 1)) && ran.error.contains(part), "{wrong}: {}", ran.error);
        assert_eq!(there.records(), 0);
    }
    std::fs::write(&file, "[]").unwrap();
    let ran = there.run(&["cache", "import", file.to_str().unwrap()]).await;
    assert!(ran.error.contains("line 1: found no header"), "{}", ran.error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_who_does_not_fall_back() {
    let host = Host::start();
    host.mail(CLIENT, "mail.sender.example", 1).await;
    let ran = host.run(&["clients"]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    for part in
        ["1 still tried", "2001:db8:1:2::/64  EHLO mail.sender.example, sender domain sender.example", "waiting           1"]
    {
        assert!(ran.out.contains(part), "{part} is not in\n{}", ran.out);
    }
    let json = host.run(&["clients", "--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&report["waiting"]["mails"], &report["clients"]["waiting"]), (&1.into(), &1.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_client_chose_acts_on_the_terminal() {
    let host = Host::start();
    host.mail(CLIENT, "evil\u{1b}[2J\r\n\u{202e}\u{9b}.example", 1).await;
    for arguments in [
        &["cache", "get", CLIENT][..],
        &["cache", "get", CLIENT, "--json"],
        &["cache", "show"],
        &["cache", "show", "--json"],
        &["cache", "export", "-"],
        &["clients"],
        &["clients", "--json"],
    ] {
        let ran = host.run(arguments).await;
        assert_eq!(ran.status, 0, "{arguments:?}: {ran:?}");
        let harmful = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!ran.out.contains(harmful), "{arguments:?}: {:?}", ran.out);
    }
    assert!(host.run(&["cache", "get", CLIENT]).await.out.contains("evil"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_say_what_was_expected() {
    let host = Host::start();
    for (arguments, part) in [
        (&["cache", "get", "192.0.2.1"][..], "nothing about IPv4"),
        (&["cache", "get", "mail.example"], "expected one such as"),
        (&["cache", "get", "2001:db8::1/64"], "expected 2001:db8::/64"),
        (&["cache", "delete", "exact:0011"], "32 hexadecimal digits"),
        (&["cache", "exempt", "fe80::1", "--for", "1h"], "exempt by the policy"),
        (&["cache", "exempt", "2001:db8::1"], "--for"),
        (&["cache", "import", "nowhere.json"], "nowhere.json"),
        (&["cache", "shwo"], "show"),
    ] {
        let ran = host.run(arguments).await;
        assert_eq!(ran.status, 2, "{arguments:?}: {ran:?}");
        assert!(ran.error.contains(part), "{arguments:?}: {}", ran.error);
    }
    let unknown = host.run(&["cache", "get", "2001:db8::77"]).await;
    assert_eq!(unknown.status, 1);
    assert!(unknown.error.contains("nothing is known about 2001:db8::77"), "{}", unknown.error);
    let mut nobody = program();
    nobody.args(["--socket", "/nowhere/control.sock", "clients"]);
    let ran = run(nobody).await;
    assert!(ran.status == 2 && ran.error.contains("/nowhere/control.sock") && ran.error.contains("--socket"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let host = Host::start();
    for number in 0..60 {
        host.mail(CLIENT, "mail.sender.example", number).await;
    }
    let mut command = program();
    command.arg("--socket").arg(host.socket()).args(["cache", "show"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        child.wait_with_output().unwrap()
    });
    let output = ended.await.unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_help_shows_how() {
    let mut command = program();
    command.arg("--help");
    let ran = run(command).await;
    assert!(ran.status == 0 && ran.out.contains("smtp-fallback cache exempt 2001:db8::25 --for 7d"), "{ran:?}");
    for (arguments, part, other) in [
        (&["clients", "--help"][..], "which mail has waited the longest", "cache show"),
        (&["cache", "exempt", "--help"], "whose network is meant", "or a mail"),
    ] {
        let mut command = program();
        command.args(arguments);
        let ran = run(command).await;
        let words = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(ran.status == 0 && words.contains(part) && !words.contains(other), "{arguments:?}: {words}");
    }
    let nothing = run(program()).await;
    assert!(nothing.status == 2 && nothing.error.contains("Examples:"), "nothing asked for: {nothing:?}");
}
