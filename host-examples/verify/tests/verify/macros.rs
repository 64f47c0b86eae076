//! SPF's macros and the client's names (RFC 7208 §5.5, §7), with letters beyond ASCII and without.

use crate::bench::Bench;
use crate::spf::{mail_from, text};
use smtp_fallback_demo::zone::Kind;

#[tokio::test]
async fn letters_beyond_ascii_become_a_labels() {
    let bench = Bench::new(&[
        ("xn--bcher-kva.example", "v=spf1 exists:%{d}.ok.example -all"),
        ("local.example", "v=spf1 exists:%{l}.local.example -all"),
        ("not.example", "v=spf1 -exists:%{l}.any.example +all"),
    ])
    .await;
    bench.server.change(|zone| {
        for name in
            ["xn--bcher-kva.example.ok.example", "ascii.local.example", "xn--grn-ioa.local.example", "gr\u{fc}n.local.example"]
        {
            zone.add(name, Kind::A, "192.0.2.1").unwrap();
        }
    });
    for (sender, expected) in [
        ("a@b\u{fc}cher.example", "pass xn--bcher-kva.example"),
        ("a@B\u{dc}CHER.Example.", "pass xn--bcher-kva.example"),
        ("a@xn--bcher-kva.example", "pass xn--bcher-kva.example"),
        // RFC 7208 §4.3: what cannot be a name has no result.
        ("a@\u{fffd}.example", "none \u{fffd}.example"),
        ("ascii@local.example", "pass local.example"),
        // RFC 8616 §4: a name with such a local part does not exist.
        ("gr\u{fc}n@local.example", "fail local.example"),
        ("gr\u{fc}n@not.example", "pass not.example"),
    ] {
        assert_eq!(mail_from(&bench, sender).await, expected, "{sender}");
    }
    let helo = bench.verify_envelope("::1", "b\u{fc}cher.example", "").await.spf_helo;
    assert_eq!(text(helo.as_ref()), "pass xn--bcher-kva.example");
}

#[tokio::test]
async fn macros_know_the_parts_of_the_session() {
    let bench = Bench::new(&[
        ("o.example", "v=spf1 exists:%{o}.ok.example -all"),
        ("l.example", "v=spf1 exists:%{l}.ok.example -all"),
        ("h.example", "v=spf1 exists:%{h}.ok.example -all"),
        ("s.example", "v=spf1 exists:%{sr@}.ok.example -all"),
    ])
    .await;
    bench.server.change(|zone| {
        for name in ["o.example", "x", "postmaster", "xn--bcher-kva.example"] {
            zone.add(&format!("{name}.ok.example"), Kind::A, "192.0.2.1").unwrap();
        }
    });
    for (sender, expected) in [
        ("x@o.example", "pass o.example"),
        // A quoted local part may have an @ of its own.
        ("\"y@z.example\"@o.example", "pass o.example"),
        ("x@l.example", "pass l.example"),
        ("X@L.example", "pass l.example"),
        ("@l.example", "pass l.example"),
        ("y@l.example", "fail l.example"),
        ("x@h.example", "pass h.example"),
        ("x@s.example", "permerror s.example"),
    ] {
        let results = bench.verify_envelope("::1", "b\u{fc}cher.example", sender).await;
        assert_eq!(text(results.spf_mail_from.as_ref()), expected, "{sender}");
    }
}

#[tokio::test]
async fn a_validated_name_leads_back() {
    let bench =
        Bench::new(&[("p.example", "v=spf1 exists:%{p}.ok.example -all"), ("ptr.example", "v=spf1 ptr:host.example -all")]).await;
    bench.server.change(|zone| {
        for (address, name) in [("1", "mx.host.example"), ("2", "liar.host.example")] {
            zone.add(&format!("{address}.2.0.192.in-addr.arpa"), Kind::Ptr, name).unwrap();
        }
        zone.add("mx.host.example", Kind::A, "192.0.2.1").unwrap();
        zone.add("liar.host.example", Kind::A, "192.0.2.1").unwrap();
        zone.add("mx.host.example.ok.example", Kind::A, "192.0.2.9").unwrap();
        zone.add("liar.host.example.ok.example", Kind::A, "192.0.2.9").unwrap();
    });
    for domain in ["p.example", "ptr.example"] {
        for (client, result) in [("192.0.2.1", "pass"), ("192.0.2.2", "fail"), ("192.0.2.3", "fail")] {
            let results = bench.verify_envelope(client, "", &format!("a@{domain}")).await;
            assert_eq!(text(results.spf_mail_from.as_ref()), format!("{result} {domain}"), "{client}");
        }
    }
}

#[tokio::test]
async fn of_several_names_the_nearest_is_shown() {
    let bench = Bench::new(&[("near.example", "v=spf1 exists:%{p}.%{i}.ok.example -all")]).await;
    bench.server.change(|zone| {
        // RFC 7208 §7.3: the domain itself, else one below it, else any.
        for (client, names, shown) in [
            ("1", &["a.other.example", "x.near.example", "near.example"][..], "near.example"),
            ("2", &["a.other.example", "x.near.example", "xnear.example"], "x.near.example"),
            ("3", &["a.other.example"], "a.other.example"),
        ] {
            for name in names {
                zone.add(&format!("{client}.2.0.192.in-addr.arpa"), Kind::Ptr, name).unwrap();
                zone.add(name, Kind::A, &format!("192.0.2.{client}")).unwrap();
            }
            zone.add(&format!("{shown}.192.0.2.{client}.ok.example"), Kind::A, "192.0.2.9").unwrap();
        }
        zone.add("unknown.192.0.2.4.ok.example", Kind::A, "192.0.2.9").unwrap();
    });
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"] {
        let results = bench.verify_envelope(client, "", "a@near.example").await;
        assert_eq!(text(results.spf_mail_from.as_ref()), "pass near.example", "{client}");
    }
}

#[tokio::test]
async fn only_so_many_names_of_a_client_are_tried() {
    for (others, result) in [(9, "pass"), (10, "fail")] {
        let bench = Bench::new(&[("a.example", "v=spf1 ptr -all")]).await;
        bench.server.change(|zone| {
            let reverse = "1.2.0.192.in-addr.arpa";
            for number in 0..others {
                zone.add(reverse, Kind::Ptr, &format!("h{number}.example")).unwrap();
            }
            zone.add(reverse, Kind::Ptr, "mx.a.example").unwrap();
            zone.add("mx.a.example", Kind::A, "192.0.2.1").unwrap();
        });
        let results = bench.verify_envelope("192.0.2.1", "", "x@a.example").await;
        assert_eq!(text(results.spf_mail_from.as_ref()), format!("{result} a.example"), "{others} others");
    }
}
