//! The status page in Chromium: with scripts and without, with names that try to be more than names, in light, dark and narrow.
//!
//! Needs `chromium` (Debian's package of that name). The screenshots are left in `target/`.
#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use common::{Host, Mail, mail, now};
use smtp_fallback_monitor::PolicyState;
use smtp_fallback_policy::contract::Mode;
use smtp_fallback_policy::network::Network;
use smtp_fallback_policy::record::exempt;
use smtp_fallback_store::{Swap, Write};

/// Names that would act if they were not escaped.
const HOSTILE: [&str; 5] = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "</bdi></td></table></main><b id=owned>",
    "moc.elpmaxe\u{202e}gro.elgoog\u{2066}\x1b[2J",
    "'\" autofocus onfocus=document.title='owned' x=",
];

/// A host with something in every section. The first page finds it in observe mode, every later one enforcing.
async fn host() -> Host {
    let asked = AtomicU32::new(0);
    let host = Host::with_state("{}", move |_| {
        let mode = if asked.fetch_add(1, Ordering::Relaxed) == 0 { Mode::Observe } else { Mode::Enforce };
        PolicyState { mode: Some(mode), problem: None }
    });
    let at = now();
    for (network, count) in [("2001:db8:1::25", 7), ("2001:db8:1:2::25", 40), ("2001:db8:ffff:ffff::25", 12)] {
        for n in 0..count {
            let mail = mail(network, "newsletter.example.net", &format!("{network}{n}"));
            host.send(&Mail { passes: n == 1, ..mail }, at - 60).await;
        }
    }
    for (n, client) in
        ["2001:db8:7::25", "2001:db8:8::25", "2001:db8:9::25", "2001:db8:a::25", "2001:db8:b::25"].into_iter().enumerate()
    {
        let hostile = Mail {
            ehlo_name: HOSTILE[n].into(),
            mail_from: format!("a@{}", HOSTILE[(n + 1) % 5].replace('@', "")),
            ..mail(client, "", &format!("never{n}"))
        };
        for ago in [9000, 7000, 5000] {
            host.send(&hostile, at - ago + n as u64).await;
        }
        let again = |id: &str| Mail { id: format!("<{id}{n}@x>"), ehlo_name: "mail.example.com".into(), ..hostile.clone() };
        host.send(&Mail { client: "2001:db8:c::25", ..again("waits") }, at - 600 * (n as u64 + 1)).await;
        let arrives = Mail { client: "2001:db8:d::25", mail_from: format!("c{n}@example.org"), ..again("arrives") };
        host.send(&arrives, at - 3000).await;
        host.send(&Mail { client: "192.0.2.25", ..arrives }, at - 2990).await;
    }
    let update = exempt(Network::parse("2001:db8:e::/64").unwrap(), None, at - 100, 7 * 86_400).unwrap();
    let write = Write { expected: None, update: &update, source: update.key.address, now: at };
    assert_eq!(host.store.compare_and_set(write).await, Ok(Swap::Stored));
    host.census(at).await;
    host
}

/// Passes requests on to the host, one connection each, as long as `passes` says so; others are cut off.
async fn gate(host: SocketAddr, mut passes: impl FnMut(&str) -> bool + Send + 'static) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut begin = [0; 64];
            // A browser may open connections that it does not use.
            let Ok(length @ 1..) = from.peek(&mut begin).await else { continue };
            let begin = String::from_utf8_lossy(&begin[..length]);
            if passes(begin.split(' ').nth(1).unwrap_or_default()) {
                let mut to = tokio::net::TcpStream::connect(host).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
            }
        }
    });
    address
}

/// Runs Chromium on the page; gives what it prints.
async fn chromium(address: SocketAddr, path: &str, arguments: &[&str]) -> String {
    browse(&format!("http://{address}{path}"), arguments).await
}

async fn browse(url: &str, arguments: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    // Should it hang, coreutils' `timeout` ends it, with its children.
    let mut command = Command::new("timeout");
    command
        .args(["60", "chromium"])
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args(["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--lang=en"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(url)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("coreutils are there");
    let (dom, log) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    match output.status.code() {
        Some(0) => {}
        Some(127) => panic!("there is no chromium to test the status page with: install Debian's package chromium\n{log}"),
        Some(124) => panic!("chromium did not end within 60 s:\n{log}"),
        _ => panic!("chromium failed ({}):\n{log}", output.status),
    }
    dom
}

fn has_all_sections_and_nothing_more(dom: &str) {
    assert!(dom.contains("<title>mx1.example.org: mail over IPv6</title>"), "{dom}");
    for section in ["state", "refused", "never", "waiting", "let-in", "clients"] {
        assert_eq!(dom.matches(&format!("<section id=\"{section}\"")).count(), 1, "{section} in\n{dom}");
    }
    assert_eq!(dom.matches("<script").count(), 1, "{dom}");
    for injected in ["<img", "id=\"owned\"", "<b ", "onfocus=\"", "\u{202e}", "\u{2066}", "\x1b"] {
        assert!(!dom.contains(injected), "{injected:?} in\n{dom}");
    }
    assert_eq!(dom.matches("</main>").count(), 1);
    // What they said is there to be read.
    assert!(dom.contains("&lt;script&gt;document.title='owned'&lt;/script&gt;"), "{dom}");
    assert!(dom.contains(r"moc.elpmaxe\u{202e}gro.elgoog\u{2066}\u{1b}[2J"), "{dom}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_whole_with_scripts_and_without_and_refreshes_itself() {
    let (plain, scripted) = (host().await, host().await);
    // With scripting switched off Chromium cannot tell what it made of the page; so its script is out of reach.
    let plain_at = gate(plain.serve().await, |path| path != "/status.js").await;
    let scripted_at = scripted.serve().await;
    let (without, with) = tokio::join!(
        chromium(plain_at, "/", &["--dump-dom"]),
        chromium(scripted_at, "/?refresh=1", &["--virtual-time-budget=4000", "--dump-dom"]),
    );
    has_all_sections_and_nothing_more(&without);
    has_all_sections_and_nothing_more(&with);
    assert!(without.contains("Reload the page for newer figures."), "{without}");
    assert!(without.contains("<strong>observe</strong>") && !without.contains("<button"), "{without}");
    assert!(with.contains("Refreshed every 1 s.") && with.contains("Pause</button>"), "{with}");
    assert!(with.contains("<strong>enforce</strong>") && !with.contains("<strong>observe</strong>"), "new data is in: {with}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_when_the_host_no_longer_answers() {
    let mut pages = 0;
    let address = gate(host().await.serve().await, move |path| {
        pages += u32::from(path.starts_with("/?"));
        !path.starts_with("/?") || pages <= 1
    });
    let address = address.await;
    let dom = chromium(address, "/?refresh=1", &["--virtual-time-budget=4000", "--dump-dom"]).await;
    assert!(dom.contains("This host has not answered since"), "{dom}");
    assert!(dom.contains("<strong>observe</strong>"), "what it said before stays: {dom}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_320_pixels_does_not_scroll_sideways() {
    let address = host().await.serve().await;
    let page = common::get(address, "/").await.body;
    let style = common::get(address, "/status.css").await.body;
    // The window of a browser is wider; a frame need not be. The page itself lets nobody frame it, so this is a copy.
    let folder = tempfile::tempdir().unwrap();
    let page = page.replace("<link rel=\"stylesheet\" href=\"/status.css\">", &format!("<style>{style}</style>"));
    let page = page.replace("<script src=\"/status.js\" defer></script>", "");
    assert!(page.contains("<style>") && !page.contains("<script "));
    std::fs::write(folder.path().join("page.html"), page).unwrap();
    let frame = "<iframe src=page.html width=320 height=900 style='border:0' onload=\"let e = this.contentDocument.documentElement; \
                 document.title = 'width ' + e.clientWidth + ' needs ' + e.scrollWidth\"></iframe>";
    std::fs::write(folder.path().join("frame.html"), frame).unwrap();
    let file = folder.path().join("frame.html");
    let dom = browse(&format!("file://{}", file.display()), &["--allow-file-access-from-files", "--dump-dom"]).await;
    assert!(dom.contains("<title>width 320 needs 320</title>"), "{}", dom.chars().take(300).collect::<String>());
}

#[tokio::test(flavor = "multi_thread")]
async fn screenshots_are_taken() {
    let (host, ill) =
        (host().await, Host::with_state("{}", |_| PolicyState { mode: None, problem: Some("line 1: no JSON".into()) }));
    let (address, ill) = (host.serve().await, ill.serve().await);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (light, dark) = ("--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0");
    let shots = [
        ("status-light.png", address, "--window-size=1200,4500", light),
        ("status-dark.png", address, "--window-size=1200,4500", dark),
        ("status-narrow.png", address, "--window-size=500,5600", light),
        ("status-problems.png", ill, "--window-size=1200,1700", light),
    ];
    for (name, address, size, scheme) in shots {
        let file = folder.join(name);
        let _ = std::fs::remove_file(&file);
        chromium(address, "/", &[size, scheme, &format!("--screenshot={}", file.display())]).await;
        let picture = std::fs::read(&file).unwrap_or_else(|error| panic!("no screenshot in {}: {error}", file.display()));
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{} shows next to nothing", file.display());
    }
}
