//! `cache export` and `cache import`, when something is wrong.

use std::path::Path;

use crate::host::{CLIENT, Host, NETWORK};
use smtp_fallback_policy::contract::{Key, KeyKind};

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "control.sock").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_breaks_off_leaves_no_file() {
    let host = Host::that_breaks_off();
    host.mail(CLIENT, "mail.sender.example", 1).await;
    let file = host.folder.path().join("records.json");
    let ran = host.run(&["cache", "export", file.to_str().unwrap()]).await;
    assert!(ran.status == 2 && ran.error.contains("it broke off"), "{ran:?}");
    assert_eq!(files(host.folder.path()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_is_there_stays() {
    let host = Host::start();
    host.mail(CLIENT, "mail.sender.example", 1).await;
    let file = host.folder.path().join("records.json");
    std::fs::write(&file, "precious").unwrap();
    let ran = host.run(&["cache", "export", file.to_str().unwrap()]).await;
    assert!(ran.status == 2 && ran.error.contains("records.json: File exists"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(files(host.folder.path()), ["records.json"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_for_its_user_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let host = Host::start();
    let file = host.folder.path().join("records.json");
    assert_eq!(host.run(&["cache", "export", file.to_str().unwrap()]).await.status, 0);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_record_is_not_exported_and_counted() {
    let host = Host::start();
    host.mail(CLIENT, "mail.sender.example", 1).await;
    for address in ["2001:db8:a::", "2001:db8:b::"] {
        host.put(Key { kind: KeyKind::Network, address: address.parse().unwrap(), prefix_length: 64 }, b"foreign").await;
    }
    let ran = host.run(&["cache", "export", "-"]).await;
    assert_eq!((ran.status, ran.out.lines().count()), (0, 5), "a header, and address, network and twice the mail: {}", ran.out);
    assert!(!ran.out.contains("2001:db8:a::") && !ran.out.contains("2001:db8:b::"), "{}", ran.out);
    assert!(ran.error.contains("4 records written") && ran.error.contains("2 were left out"), "{}", ran.error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weight_that_is_not_known_is_made_anew() {
    let (here, there) = (Host::start(), Host::start());
    here.mail(CLIENT, "mail.sender.example", 1).await;
    assert_eq!(here.run(&["cache", "exempt", "2001:db8:7::25", "--for", "7d"]).await.status, 0);
    let exported = here.run(&["cache", "export", "-"]).await.out;
    // As a store that keeps no weights gives them.
    let unknown: Vec<String> = exported
        .lines()
        .map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            if line.get("weight").is_some() {
                line["weight"] = 0.into();
            }
            line.to_string()
        })
        .collect();
    let file = here.folder.path().join("records.json");
    std::fs::write(&file, unknown.join("\n")).unwrap();
    let ran = there.run(&["cache", "import", file.to_str().unwrap()]).await;
    assert!(ran.error.contains("5 records imported"), "{ran:?}");
    let weights = |listed: Vec<smtp_fallback_store::Listed>| {
        let mut weights: Vec<(Key, u32)> = listed.iter().map(|listed| (listed.record.key, listed.weight)).collect();
        weights.sort_by_key(|(key, _)| format!("{key:?}"));
        weights
    };
    let (module, made) = (weights(here.listed().await), weights(there.listed().await));
    assert!(module.iter().any(|(_, weight)| *weight >= 1_000_000), "{module:?}");
    assert_eq!(made, module, "the weights that the module gave");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_no_record_has_are_errors_of_their_line() {
    let (here, there) = (Host::start(), Host::start());
    here.mail(CLIENT, "mail.sender.example", 1).await;
    let good = here.run(&["cache", "export", "-"]).await.out;
    let network: &str = good.lines().find(|line| line.contains(r#""kind":"network""#)).unwrap();
    let address: &str = good.lines().find(|line| line.contains(r#""kind":"address""#)).unwrap();
    let file = here.folder.path().join("records.json");
    for (line, part) in [
        (network.replacen(NETWORK, "2001:db8::/129", 1), "\"2001:db8::/129\" is no network"),
        (network.replacen(NETWORK, "2001:db8::/200", 1), "\"2001:db8::/200\" is no network"),
        (network.replacen(NETWORK, "192.0.2.0/24", 1), "key: found 192.0.2.0/24, expected an IPv6 network"),
        (network.replacen(NETWORK, "2001::/15", 1), "bits beyond its length set"),
        (network.replacen(NETWORK, "2000::/15", 1), "key: found 2000::/15, expected a network from /16 to /128"),
        (address.replacen("2001:db8:1:2::25/128", "2001:db8:1:2::/64", 1), "key: found 2001:db8:1:2::/64, expected a /128"),
    ] {
        assert!(!good.contains(&line), "{line}");
        std::fs::write(&file, format!("{good}{line}\n")).unwrap();
        let ran = there.run(&["cache", "import", file.to_str().unwrap()]).await;
        let place = format!("line {}: ", good.lines().count() + 1);
        assert!(ran.status == 2 && ran.error.contains(&place) && ran.error.contains(part), "{line}: {}", ran.error);
        assert!(!ran.error.contains("column"), "one line is meant: {}", ran.error);
        assert_eq!(there.records(), 0, "nothing is half done");
    }
}
