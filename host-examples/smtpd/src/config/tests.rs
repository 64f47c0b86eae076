use std::path::Path;
use std::time::Duration;

use smtp_fallback_daemon::config::InForce;

use super::*;
use crate::upstream::{Address, Protocol, Tell};

const SMALL: &str = r#"
host_name = "mx.demo.example"
domains = ["Demo.example"]
maildir = "mail"
component = "/policy.wasm"
policy = "policy.json"

[[listener]]
address = "[::1]:2525"
"#;

fn read(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("smtpd.toml");
    std::fs::write(&path, text).expect("writable");
    let config = InForce::read::<Config>(&path).map(|(config, _)| config).map_err(|error| error.to_string());
    config.inspect(|config| assert_eq!(config.maildir.iter().filter(|path| **path != folder.path().join("mail")).count(), 0))
}

#[test]
fn a_small_file_has_all_defaults() {
    let config = read(SMALL).expect("valid");
    assert_eq!(config.domains, ["demo.example"]);
    assert_eq!(config.component, Path::new("/policy.wasm"));
    assert_eq!(config.log, "info");
    assert!(config.reachable_over_ipv4 && !config.ipv4_arrivals().visible);
    assert_eq!(config.limits.message_size, 25 * 1024 * 1024);
    assert_eq!(config.limits.idle, Duration::from_secs(300));
    assert_eq!(config.policy_limits.deadline, Duration::from_millis(50));
    assert!(!config.listeners[0].extension && config.listeners[0].kind == Kind::Mx);
}

#[test]
fn every_setting_can_be_set() {
    let text = format!(
        r#"{SMALL}
extension = true
kind = "submission"
[[listener]]
address = "127.0.0.1:0"
[verify]
nameservers = ["127.0.0.1:5353", "::1"]
deadline = "1500ms"
cache_entries = 10
[limits]
message_size = "10MiB"
message_memory = 67108864
recipients = 200
connections = 7
connections_per_prefix = 0
ipv6_prefix = 56
ipv4_prefix = 24
greeting_delay = "2s"
data_block = "1m"
tls_handshake = "10s"
errors = 3
idle = "10s"
message_time = "1h"
[policy_limits]
deadline = "5ms"
memory = "32MiB"
[store]
path = "records.redb"
records = 1000
records_per_48 = 10
time = "5ms"
control = "/run/control.sock"
control_mode = "0660"
[monitor]
address = "127.0.0.1:9125"
"#
    );
    let text = text.replace("maildir =", "ipv4_arrivals_visible = true\nmaildir =");
    let config = read(&text).expect("valid");
    assert!(config.ipv4_arrivals().visible);
    assert_eq!(config.listeners[0].kind, Kind::Submission);
    assert_eq!(config.verify.nameservers, ["127.0.0.1:5353", "[::1]:53"].map(|address| address.parse().expect("valid")));
    assert_eq!(config.verify.deadline, Duration::from_millis(1500));
    assert_eq!((config.limits.message_size, config.limits.message_memory), (10 << 20, 64 << 20));
    assert_eq!(config.limits.message_time, Duration::from_secs(3600));
    assert_eq!(config.policy_limits.memory, 32 << 20);
    let store = &config.store;
    assert_eq!((store.limits().records, store.limits().per_48, store.limits().per_32), (1000, 10, 4096));
    assert_eq!((store.time, store.control_mode), (Duration::from_millis(5), 0o660));
    assert!(store.path.as_ref().is_some_and(|path| path.is_absolute()), "it starts at the file's folder");
    assert_eq!(store.control.as_deref(), Some(Path::new("/run/control.sock")));
    assert_eq!(config.monitor.as_ref().map(|monitor| monitor.address.port()), Some(9125));
    let limits = &config.limits;
    assert_eq!((limits.connections_per_prefix, limits.ipv6_prefix, limits.ipv4_prefix), (0, 56, 24));
    assert_eq!((limits.greeting_delay.as_secs(), limits.data_block.as_secs(), limits.tls_handshake.as_secs()), (2, 60, 10));
}

#[test]
fn either_a_maildir_or_an_upstream() {
    let front = |upstream: &str| {
        let text = SMALL.replace("maildir = \"mail\"\n", "").replace("domains = [\"Demo.example\"]\n", "");
        read(&format!("{text}[upstream]\n{upstream}"))
    };
    let error = front("address = \"127.0.0.1:10025\"\ntell = \"xclient\"").expect_err("somebody has to say");
    assert!(error.contains("domains: found none"), "{error}");
    let config = front("address = \"127.0.0.1:10025\"\ntell = \"xclient\"\nany_domain = true").expect("valid");
    let settings = config.upstream.expect("there").settings("mx.demo.example");
    assert_eq!((settings.protocol, settings.tell), (Protocol::Smtp, Tell::Xclient));
    assert_eq!(settings.timeouts, crate::upstream::Timeouts::default());
    // An upstream that does not know the client would relay for everybody whom this server lets through.
    let error = front("address = \"127.0.0.1:10025\"\ntell = \"nothing\"\nany_domain = true").expect_err("an open relay");
    assert!(error.contains("relay for everybody"), "{error}");
    let text = SMALL.replace("maildir = \"mail\"\n", "");
    for (address, part) in [
        ("address = \"unix:/run/lmtp\"\ntell = \"proxy-v1\"", "UNIX socket"),
        ("address = \"[::1]:2525\"\ntell = \"xclient\"", "this server itself"),
        ("address = \"[::1]:2526\"\ntell = \"xclient\"\nany_domain = true", "beside domains"),
    ] {
        let error = read(&format!("{text}[upstream]\n{address}")).expect_err(address);
        assert!(error.contains(part), "{error}");
    }
    assert!(reaches("[::]:25".parse().expect("valid"), "[::1]:25".parse().expect("valid")));
    assert!(!reaches("[::]:25".parse().expect("valid"), "127.0.0.1:25".parse().expect("valid")));
    let lmtp = "[upstream]\naddress = \"unix:lmtp\"\nprotocol = \"lmtp\"\ntell = \"nothing\"\n[upstream.timeouts]\ndot = \"20s\"";
    let upstream = read(&format!("{text}{lmtp}")).expect("valid").upstream.expect("there");
    assert_eq!(upstream.timeouts.dot, Duration::from_secs(20));
    assert!(matches!(&upstream.address, Address::Unix(path) if path.is_absolute() && path.ends_with("lmtp")));
}

#[test]
fn behind_a_proxy_a_listener_may_have_clients_of_both_families() {
    let proxied = "extension = true\nproxy_from = [\"127.0.0.1\", \"2001:db8::/64\"]";
    let config = read(&format!("{}{proxied}", SMALL.replace("[::1]:2525", "127.0.0.1:2525"))).expect("valid");
    assert!(config.listeners[0].extension);
    assert!(config.listeners[0].proxy_from.contains("2001:db8::9".parse().expect("valid")));
    assert!(read(&format!("{SMALL}{proxied}")).expect("valid").listeners[0].extension);
}

#[test]
fn the_sample_files_are_valid_and_show_the_defaults() {
    let sample =
        |name| InForce::read::<Config>(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).map(|(config, _)| config).expect(name);
    let bare: Config = toml::from_str(SMALL).expect("valid");
    let shown = sample("smtpd.toml");
    assert_eq!(format!("{:?}", shown.limits), format!("{:?}", bare.limits));
    assert_eq!(format!("{:?}", shown.verify), format!("{:?}", bare.verify));
    assert_eq!(format!("{:?}", shown.policy_limits), format!("{:?}", bare.policy_limits));
    let settings = sample("front.toml").upstream.expect("there").settings("mx.demo.example");
    assert_eq!(settings.timeouts, crate::upstream::Timeouts::default());
}

#[test]
fn errors_say_where_and_what() {
    let with = |text: &str| format!("{SMALL}{text}");
    let cases = [
        (with("extensions = true"), &["line 10", "unknown field `extensions`", "`extension`"][..]),
        (with("kind = \"mta\""), &["line 10", "unknown variant `mta`", "`mx`"]),
        (with("[limits]\nidle = \"5\""), &["line 11", "found \"5\"", "5m"]),
        (with("[limits]\nidle = \"2h\""), &["line 11", "1 s to 1 h"]),
        (with("[limits]\nmessage_size = \"1MB\""), &["line 11", "25MiB"]),
        (with("[limits]\nmessage_size = -1"), &["line 11", "25MiB"]),
        (with("[limits]\nmessage_size = 1"), &["line 11", "64 KiB to 1 GiB"]),
        (with("[limits]\nerrors = 0"), &["line 11", "at least 1"]),
        (with("[limits]\nmessage_memory = \"1MiB\""), &["message_memory", "at least limits.message_size"]),
        (with("[verify]\nnameservers = [\"dns.example\"]"), &["line 11", "dns.example", "127.0.0.1:53"]),
        (with("[[listener]]\naddress = \"127.0.0.1:1\"\nextension = true"), &["127.0.0.1:1", "IPv6 addresses only"]),
        (with("[[listener]]\naddress = \"localhost:25\""), &["line 11", "localhost:25", "[::]:25"]),
        (SMALL.replace("[[listener]]\naddress = \"[::1]:2525\"", "listener = []"), &["at least one"]),
        (SMALL.replace("[\"Demo.example\"]", "[]"), &["domains: found none", "add domains"]),
        (SMALL.replace("\"Demo.example\"", "\"de mo\""), &["line 3", "de mo", "demo.example"]),
        (SMALL.replace("mx.demo.example", "mx\\r\\n.example"), &["line 2"]),
        (SMALL.replace("mx.demo.example", &format!("{}mx", "a.".repeat(126))), &["line 2", "254 octets", "253"]),
        (SMALL.replace("maildir", "mailbox"), &["line 4", "unknown field `mailbox`"]),
        (SMALL.replace("maildir = \"mail\"\n", ""), &["neither maildir nor [upstream]"]),
        (with("[upstream]\naddress = \"127.0.0.1:25\"\ntell = \"nothing\""), &["both maildir and [upstream]"]),
        (with("[upstream]\naddress = \"mx:25\"\ntell = \"nothing\""), &["line 11", "mx:25", "unix:"]),
        (with("[upstream]\naddress = \"unix:\"\ntell = \"nothing\""), &["line 11", "unix:/run/"]),
        (with("[upstream]\naddress = \"127.0.0.1:25\"\ntell = \"proxy\""), &["line 12", "\"proxy-v1\""]),
        (with("[upstream]\naddress = \"127.0.0.1:25\""), &["missing field `tell`"]),
        (with("[upstream]\naddress = \"127.0.0.1:25\"\ntell = \"nothing\"\nprotocol = \"http\""), &["line 13", "\"lmtp\""]),
        (with("[tls]\ncertificate = \"a.pem\""), &["missing field `key`"]),
        (with("proxy_from = [\"proxy.example\"]"), &["line 10", "proxy.example", "2001:db8::/64"]),
        (with("proxy_from = [\"::/0\"]"), &["line 10", "::/0"]),
        (with("[limits]\ngreeting_delay = \"1m\""), &["line 11", "0s to 30 s"]),
        (with("[limits]\nipv6_prefix = 129"), &["line 11", "16 to 128 bits"]),
        (with("[limits]\nipv4_prefix = 7"), &["line 11", "8 to 32 bits"]),
        (SMALL.replace("maildir =", "log_format = \"xml\"\nmaildir ="), &["line 4", "`json`"]),
        (SMALL.replace("maildir =", "group = \"mail\"\nmaildir ="), &["group: found without user"]),
        (SMALL.replace("maildir =", "log = \"a=b=c\"\nmaildir ="), &["line 4", "info"]),
        (SMALL.replace("maildir =", "log = \"inof\"\nmaildir ="), &["line 4", "\"inof\" is neither a level"]),
        (SMALL.replace("maildir =", "log = \"info,smtpd=debug\"\nmaildir ="), &["line 4", "\"smtpd=debug\" is neither"]),
        (with("[[listener]]\naddress = \"[::1]:2525\""), &["[::1]:2525", "twice"]),
        (with("[monitor]\naddress = \"192.0.2.1:9125\""), &["monitor.address", "192.0.2.1:9125", "allow_remote"]),
        (with("[store]\ncontrol = \"a\"\ncontrol_mode = \"0666\""), &["store.control_mode", "\"0666\"", "\"0660\""]),
        ("domains = [".to_owned(), &["line 1"]),
    ];
    for (text, parts) in cases {
        let error = read(&text).expect_err(&text);
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }
}
