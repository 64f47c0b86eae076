use std::path::Path;

use smtp_fallback_daemon::config::InForce;

use super::*;

const SMALL: &str =
    "host_name = \"mx.demo.example\"\nlisten = [\"unix:milter.sock\"]\ncomponent = \"/policy.wasm\"\npolicy = \"policy.json\"\n";

fn read(text: &str) -> Result<(Config, PathBuf), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("milter.toml");
    std::fs::write(&path, text).expect("writable");
    let read = InForce::read::<Config>(&path).map_err(|error| error.to_string())?;
    Ok((read.0, folder.path().to_owned()))
}

#[test]
fn a_small_file_has_all_defaults() {
    let (config, folder) = read(SMALL).expect("valid");
    assert_eq!(config.listen, [SocketName::Unix(folder.join("milter.sock"))]);
    assert_eq!(config.component, Path::new("/policy.wasm"));
    assert_eq!(config.policy, folder.join("policy.json"));
    assert_eq!((config.socket_mode, config.socket_group), (0o660, None));
    assert_eq!(config.submission_daemons, ["ORIGINATING", "MSA"]);
    assert!(config.authserv_ids.is_empty() && config.trusted_fronts.is_empty());
    assert!(config.reachable_over_ipv4 && !config.ipv4_arrivals_visible && !config.behind_front);
    assert_eq!((config.limits.connections, config.limits.message_size), (1000, 50 << 20));
    assert_eq!(config.limits.idle, Duration::from_secs(7210));
}

#[test]
fn every_setting_can_be_set() {
    let text = format!(
        "{SMALL}{}",
        r#"
socket_mode = "0600"
socket_group = "postfix"
component_cache = "cache"
log = "warn"
log_format = "json"
user = "a"
group = "b"
reachable_over_ipv4 = false
ipv4_arrivals_visible = true
authserv_ids = ["mx.demo.example"]
submission_daemons = []
trusted_fronts = ["front"]
behind_front = true
[verify]
nameservers = ["::1"]
deadline = "1500ms"
cache_entries = 10
[limits]
connections = 7
message_size = "10MiB"
message_memory = 67108864
idle = "1h"
[policy_limits]
deadline = "20ms"
memory = "8MiB"
[store]
path = "records.redb"
[monitor]
address = "127.0.0.1:0"
"#
    );
    let (config, folder) = read(&text).expect("valid");
    assert_eq!(config.component_cache, Some(folder.join("cache")));
    assert_eq!(config.store.path, Some(folder.join("records.redb")));
    assert_eq!(config.limits.message_memory, 64 << 20);
    assert_eq!(config.limits.memory_for_a_network(), 16 << 20);
    let settings = config.settings();
    assert!(settings.ipv4_arrivals.visible && settings.open_files > 7);
}

#[test]
fn what_is_wrong_has_its_place() {
    for (more, parts) in [
        ("lissten = []", &["unknown field `lissten`", "`listen`"][..]),
        ("socket_mode = \"0606\"", &["socket_mode: found \"0606\""]),
        ("socket_mode = \"0060\"", &["socket_mode: found \"0060\"", "\"0600\""]),
        ("socket_mode = 384", &["socket_mode"]),
        ("group = \"b\"", &["group: found without user"]),
        ("authserv_ids = [\" \"]", &["authserv_ids", "found \" \"", "mx.demo.example"]),
        ("behind_front = true", &["behind_front: found true without trusted_fronts"]),
        ("trusted_fronts = \"front\"", &["trusted_fronts"]),
        ("log = \"loud\"", &["log"]),
        ("log_format = \"xml\"", &["xml", "`json`"]),
        ("policy = \"again.json\"", &["duplicate key"]),
        ("verify =", &["milter.toml"]),
        ("[verify]\nnameservers = [\"localhost\"]", &["nameservers", "localhost"]),
        ("[limits]\nmessage_memory = \"1MiB\"", &["limits.message_memory: found 1048576", "52428800"]),
        ("[limits]\nidle = \"25h\"", &["found \"25h\", expected 1 min to 24 h"]),
        ("[limits]\nidle = \"59s\"", &["found \"59s\", expected 1 min to 24 h"]),
        ("[limits]\nconnections = 0", &["at least 1"]),
        ("[limits]\nmessage_size = \"1KiB\"", &["64 KiB to 1 GiB"]),
        ("[monitor]\naddress = \"192.0.2.1:80\"", &["monitor.address", "allow_remote"]),
    ] {
        let error = read(&format!("{SMALL}{more}\n")).expect_err(more);
        assert!(parts.iter().all(|part| error.contains(part)) && error.contains("milter.toml"), "{error}");
    }
}

#[test]
fn what_is_missing_or_is_no_socket_has_its_place_too() {
    for (there, instead, parts) in [
        ("listen = [\"unix:milter.sock\"]\n", "", &["missing field `listen`"][..]),
        ("policy = \"policy.json\"\n", "", &["missing field `policy`"]),
        ("mx.demo.example", "mx demo", &["host_name", "mx demo"]),
        ("\"unix:milter.sock\"", "", &["listen", "at least one"]),
        ("unix:milter.sock", "inet:localhost:8894", &["listen", "found \"inet:localhost:8894\", expected unix:"]),
        ("[\"unix:milter.sock\"]", "[\"inet6:[::1]:8894\", \"inet6:8894@::1\"]", &["listen: found inet6:[::1]:8894 twice"]),
        ("[\"unix:milter.sock\"]", "[\"local:milter.sock\", \"unix:milter.sock\"]", &["listen: found unix:", "twice"]),
    ] {
        assert!(SMALL.contains(there), "{there}");
        let error = read(&SMALL.replace(there, instead)).expect_err(instead);
        assert!(parts.iter().all(|part| error.contains(part)) && error.contains("milter.toml"), "{error}");
    }
}

#[test]
fn a_network_may_take_a_quarter_of_the_memory_or_one_message() {
    for (size, memory, share) in [("64KiB", "256KiB", 64 << 10), ("64KiB", "1MiB", 256 << 10), ("1MiB", "1MiB", 1 << 20)] {
        let limits = format!("[limits]\nmessage_size = \"{size}\"\nmessage_memory = \"{memory}\"\n");
        let (config, _) = read(&format!("{SMALL}{limits}")).expect("valid");
        assert_eq!(config.limits.memory_for_a_network(), share, "{size} {memory}");
    }
}
