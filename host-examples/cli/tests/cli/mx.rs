//! `mx`, against a name server and with zone files.

use std::net::SocketAddr;

use smtp_fallback_demo::zone::{Kind, NameServer, Zone};

use crate::host::{Ran, program};

/// An MX record or an address: name, kind, text.
type Records<'a> = &'a [(&'a str, Kind, &'a str)];

const PAIR: Records<'_> = &[
    ("example.org", Kind::Mx, "10 mx6.example.org"),
    ("example.org", Kind::Mx, "10 mx4.example.org"),
    ("mx6.example.org", Kind::Aaaa, "2001:db8::25"),
    ("mx4.example.org", Kind::A, "192.0.2.25"),
];

fn zone(records: Records<'_>) -> Zone {
    let mut zone = Zone::new();
    for (name, kind, text) in records {
        zone.add(name, *kind, text).unwrap();
    }
    zone
}

async fn served(zone: Zone) -> (NameServer, SocketAddr) {
    let server = NameServer::start(zone).await.unwrap();
    let address = server.addr();
    (server, address)
}

async fn run(arguments: &[&str]) -> Ran {
    let mut command = program();
    command.args(arguments);
    crate::host::run(command).await
}

/// The command's output: its status, what it wrote, and what it complained of.
async fn mx(server: SocketAddr, arguments: &[&str]) -> (i32, String, String) {
    let server = server.to_string();
    let ran = run(&[&["mx", "--server", &server], arguments].concat()).await;
    (ran.status, ran.out, ran.error)
}

fn line<'a>(out: &'a str, rule: &str) -> &'a str {
    out.lines()
        .find(|line| line.get(9..).is_some_and(|rest| rest.starts_with(rule)))
        .unwrap_or_else(|| panic!("no {rule} in\n{out}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_d2_d3_d6_a_pair_is_well() {
    let (_server, address) = served(zone(PAIR)).await;
    let (status, out, error) = mx(address, &["Example.ORG."]).await;
    assert_eq!((status, error.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("example.org\n     10  mx4.example.org  no IPv6, IPv4 192.0.2.25\n     10  mx6.example.org  IPv6 2001:db8::25, no IPv4\n"), "{out}");
    for rule in ["D1", "D2", "D3", "D6", "one IPv6", "order"] {
        assert!(line(&out, rule).starts_with("ok "), "{out}");
    }
    for sender in ["Postfix", "Exim", "Sendmail"] {
        assert!(out.lines().any(|line| line.trim_start().starts_with(sender) && line.contains(" 0 % ")), "{out}");
    }
}

/// One layout: its hosts as (preference, has IPv6, has IPv4), the rules that it breaks, and the shares of Postfix, Exim and Sendmail in %.
type Case<'a> = (&'a [(u16, bool, bool)], &'a [&'a str], [&'a str; 3]);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_layout_breaks_the_rules_that_it_breaks() {
    let cases: &[Case<'_>] = &[
        (&[(10, true, false), (10, false, true), (20, true, false), (20, false, true)], &[], ["0 %", "0 %", "0 %"]),
        (&[(10, true, true)], &["D3", "D6"], ["0 %", "0 %", "100 %"]),
        (&[(10, true, true), (20, true, true)], &["D3", "D6"], ["0 %", "0 %", "100 %"]),
        (&[(10, true, false), (10, true, false), (10, false, true), (10, false, true)], &["one IPv6"], ["17 %", "0 %", "0 %"]),
        (&[(10, true, false), (10, true, false), (20, false, true)], &["D2", "D6", "one IPv6"], ["100 %", "0 %", "0 %"]),
        (&[(10, true, false), (20, false, true)], &["D2", "D6"], ["0 %", "0 %", "0 %"]),
        (&[(10, true, false)], &["D2", "D6", "order"], ["100 %", "100 %", "100 %"]),
        (&[(10, false, true), (20, true, false)], &["D2", "order"], ["0 %", "0 %", "0 %"]),
        (&[(10, false, true)], &["D2"], ["0 %", "0 %", "0 %"]),
    ];
    for (hosts, broken, shares) in cases {
        let mut zone = Zone::new();
        for (number, (preference, ipv6, ipv4)) in hosts.iter().enumerate() {
            let name = format!("mx{number}.example.org");
            zone.add("example.org", Kind::Mx, &format!("{preference} {name}")).unwrap();
            if *ipv6 {
                zone.add(&name, Kind::Aaaa, &format!("2001:db8::{number}")).unwrap();
            }
            if *ipv4 {
                zone.add(&name, Kind::A, &format!("192.0.2.{number}")).unwrap();
            }
        }
        let (_server, address) = served(zone).await;
        let (status, out, error) = mx(address, &["example.org"]).await;
        assert_eq!((status, error.as_str()), (i32::from(!broken.is_empty()), ""), "{hosts:?}\n{out}");
        for rule in ["D1", "D2", "D3", "D6", "one IPv6", "order"] {
            let expected = if broken.contains(&rule) { "WRONG " } else { "ok " };
            assert!(line(&out, rule).starts_with(expected), "{hosts:?}: {rule}\n{out}");
        }
        for (sender, share) in ["Postfix", "Exim", "Sendmail"].iter().zip(shares) {
            assert!(
                out.lines().any(|line| line.trim_start().starts_with(sender) && line.contains(&format!(" {share} "))),
                "{hosts:?}: {sender} {share}\n{out}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_dns_does_not_answer_is_unknown() {
    let mut failing = zone(PAIR);
    failing.fail("mx4.example.org");
    let (_server, address) = served(failing).await;
    let (status, out, error) = mx(address, &["example.org"]).await;
    assert_eq!(status, 2, "{out}");
    assert!(error.contains("unknown") && out.contains("IPv4 unknown (") && out.contains("Postfix       ?"), "{out}{error}");
    for rule in ["D1", "D2", "D3", "D6", "one IPv6", "order"] {
        assert!(line(&out, rule).starts_with("unknown "), "{out}");
    }
    // What comes after the addresses that are tried need not be known.
    let mut zone = self::zone(PAIR);
    zone.add("example.org", Kind::Mx, "20 mx.backup.example").unwrap();
    zone.fail("mx.backup.example");
    let (_server, address) = served(zone).await;
    let (status, out, _) = mx(address, &["example.org"]).await;
    assert_eq!(status, 2, "{out}");
    assert!(
        line(&out, "one IPv6").starts_with("ok ") && out.contains("Postfix     0 %") && line(&out, "D2").starts_with("unknown "),
        "{out}"
    );
    // What is wrong whatever the rest is stays wrong.
    let mut zone = self::zone(PAIR);
    zone.add("mx6.example.org", Kind::A, "192.0.2.6").unwrap();
    zone.fail("mx4.example.org");
    let (_server, address) = served(zone).await;
    let (status, out, _) = mx(address, &["example.org"]).await;
    assert_eq!(status, 1, "{out}");
    assert!(line(&out, "D3").starts_with("WRONG ") && line(&out, "D6").starts_with("unknown "), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_no_domain_and_no_mx_record_are_three_things() {
    let mut zone = zone(&[
        ("plain.example", Kind::A, "192.0.2.1"),
        ("plain.example", Kind::Aaaa, "2001:db8::1"),
        ("hostless.example", Kind::Mx, "10 gone.example"),
        ("null.example", Kind::Mx, "0 ."),
    ]);
    zone.fail("servfail.example");
    let (_server, address) = served(zone).await;
    let (status, out, error) = mx(address, &["servfail.example"]).await;
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(error.contains("the MX records of servfail.example are unknown"), "{error}");
    let (status, _, error) = mx(address, &["nowhere.example"]).await;
    assert_eq!(status, 1);
    assert!(error.contains("there is no domain nowhere.example"), "{error}");
    let (status, out, _) = mx(address, &["plain.example"]).await;
    assert!(status == 1 && out.contains("WRONG    MX       there is no MX record"), "{out}");
    let (status, out, _) = mx(address, &["hostless.example"]).await;
    assert!(status == 1 && line(&out, "D1").starts_with("WRONG "), "{out}");
    let (status, out, _) = mx(address, &["null.example"]).await;
    assert!(status == 0 && out.contains("takes no mail"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_file_is_checked_before_it_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("example.org.db");
    let path = file.to_str().unwrap();
    let check = |zone: &str, arguments: &[&str]| {
        std::fs::write(
            &file,
            format!("$TTL 3600\n@ SOA ns.example.org. admin.example.org. 1 7200 900 1209600 300\n@ NS ns\n{zone}"),
        )
        .unwrap();
        let arguments =
            [&["mx", "example.org", "--zone", path], arguments].concat().iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        async move { run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let well = check("@ MX 10 mx6\n@ MX 10 mx4\nmx6 AAAA 2001:db8::25\nmx4 A 192.0.2.25\n", &[]).await;
    assert_eq!((well.status, well.error.as_str()), (0, ""), "{}", well.out);
    let json = check("@ MX 10 mx\nmx AAAA 2001:db8::25\nmx A 192.0.2.25\n", &["--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.status, &report["hosts"][0]["ipv4"]["known"][0]), (1, &"192.0.2.25".into()));
    assert!(
        report["findings"].as_array().unwrap().iter().any(|finding| finding["rule"] == "D3" && finding["outcome"] == "wrong")
    );
    let wildcard = check("@ MX 10 a.x\n@ MX 10 mx4\n*.x AAAA 2001:db8::25\nmx4 A 192.0.2.25\n", &[]).await;
    assert_eq!(wildcard.status, 0, "{}", wildcard.out);
    for (hosts, why) in
        [("@ MX 10 mx.elsewhere.example.\n", "not in this file"), ("@ MX 10 mx.sub\nsub NS ns.elsewhere.example.\n", "delegated")]
    {
        let unknown = check(hosts, &[]).await;
        assert!(unknown.status == 2 && unknown.out.contains(why), "{why}: {unknown:?}");
    }
    let empty = check("", &[]).await;
    assert!(empty.status == 1 && empty.error.contains("neither MX records nor addresses"), "{empty:?}");
    let broken = check("@ MX ten mx\n", &[]).await;
    assert!(broken.status == 2 && broken.error.contains("no zone file"), "{broken:?}");
    let missing = run(&["mx", "example.org", "--zone", "/nonexistent/zone"]).await;
    assert!(missing.status == 2 && missing.error.contains("cannot read /nonexistent/zone"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_an_mx_record_must_not_name_an_alias() {
    let advice = "name other.example.org itself in the MX record";
    let mut aliased = zone(PAIR);
    aliased.replace("mx4.example.org", Kind::A, &[]).unwrap();
    aliased.add("mx4.example.org", Kind::Cname, "other.example.org").unwrap();
    aliased.add("other.example.org", Kind::A, "192.0.2.25").unwrap();
    let (_server, address) = served(aliased).await;
    let (status, out, error) = mx(address, &["example.org"]).await;
    assert_eq!((status, error.as_str()), (1, ""), "{out}");
    assert_eq!(line(&out, "D1"), "WRONG    D1       mx4.example.org is an alias of other.example.org", "{out}");
    assert!(out.contains(advice) && out.contains("RFC 2181 section 10.3"), "{out}");
    // Its addresses are those of the host.
    assert!(out.contains("no IPv6, IPv4 192.0.2.25") && line(&out, "D2").starts_with("ok "), "{out}");
    let (_, out, _) = mx(address, &["example.org", "--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["hosts"][0]["alias"], serde_json::json!({"of": "other.example.org"}), "{out}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("example.org.db");
    let head = "$TTL 3600\n@ SOA ns.example.org. admin.example.org. 1 7200 900 1209600 300\n@ NS ns\n@ MX 10 mx6\n@ MX 10 mx4\n";
    for (hosts, target, found) in [
        ("mx4 CNAME other\nother A 192.0.2.25\n", "other.example.org", "IPv4 192.0.2.25"),
        ("mx4 CNAME other\nother CNAME third\nthird A 192.0.2.25\n", "other.example.org", "IPv4 192.0.2.25"),
        ("mx4 CNAME other.elsewhere.example.\n", "other.elsewhere.example", "not in this file"),
        ("mx4 CNAME other\nother CNAME mx4\n", "other.example.org", "aliases of aliases"),
    ] {
        std::fs::write(&file, format!("{head}mx6 AAAA 2001:db8::25\n{hosts}")).unwrap();
        let ran = run(&["mx", "example.org", "--zone", file.to_str().unwrap()]).await;
        assert_eq!(ran.status, 1, "{hosts}: {ran:?}");
        assert!(line(&ran.out, "D1").ends_with(&format!("mx4.example.org is an alias of {target}")), "{}", ran.out);
        assert!(ran.out.contains(&format!("name {target} itself")) && ran.out.contains(found), "{hosts}: {}", ran.out);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_domain_is_said_to_be_none() {
    for domain in ["", ".", "user@example.org", "https://example.org", "a..example"] {
        let ran = run(&["mx", domain, "--server", "127.0.0.1:1"]).await;
        assert!(ran.status == 2 && ran.error.contains("is no domain name"), "{domain}: {ran:?}");
    }
}
