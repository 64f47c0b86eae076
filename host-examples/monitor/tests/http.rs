//! The server, by real sockets.
#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{Host, Mail, exchange, get, mail, now};
use smtp_fallback_monitor::PolicyState;
use smtp_fallback_policy::contract::{Key, StoredRecord};
use smtp_fallback_store::{BoxFuture, Cursor, Health, Page, Secret, Store, StoreError, Swap, Write};

/// A host with a refusal, a penalty, a client that is let in, and a client with a hostile name.
async fn busy_host() -> Host {
    let (host, at) = (Host::new("{}"), now() - 4000);
    for n in 0..7 {
        host.send(&mail("2001:db8:1::25", "example.net", &n.to_string()), at + 3990).await;
    }
    let hostile = Mail {
        ehlo_name: "\"><script>alert(1)</script>\u{202e}\x1b".into(),
        mail_from: "a@</bdi></main>'&.example".into(),
        ..mail("2001:db8:7::25", "", "1")
    };
    for after in [0, 900, 1800] {
        host.send(&hostile, at + after).await;
    }
    host.send(&Mail { client: "2001:db8:8::25", id: "<2@x>".into(), ..hostile }, at + 3000).await;
    host.census(now()).await;
    host
}

#[tokio::test]
async fn each_path_answers_in_its_form_and_every_answer_is_guarded() {
    let host = busy_host().await;
    let address = host.serve().await;
    for (path, status, content_type, begins) in [
        ("/", 200, "text/html; charset=utf-8", "<!doctype html>"),
        ("/?refresh=1", 200, "text/html; charset=utf-8", "<!doctype html>"),
        ("/status.json", 200, "application/json", "{"),
        ("/status.css", 200, "text/css; charset=utf-8", "/*"),
        ("/status.js", 200, "text/javascript; charset=utf-8", "//"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8", "# HELP"),
        ("/healthz", 200, "text/plain; charset=utf-8", "ok\n"),
        ("/other", 404, "text/plain; charset=utf-8", "Nothing is here"),
        ("/status.css/", 404, "text/plain; charset=utf-8", "Nothing is here"),
        ("/../Cargo.toml", 404, "text/plain; charset=utf-8", "Nothing is here"),
    ] {
        let answer = get(address, path).await;
        assert_eq!((answer.status, answer.field("content-type")), (status, Some(content_type)), "{path}: {answer:?}");
        assert!(answer.body.starts_with(begins), "{path}: {answer:?}");
        guarded(&answer);
    }
}

fn guarded(answer: &common::Answer) {
    let policy = answer.field("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    for (field, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
        ("connection", "close"),
    ] {
        assert_eq!(answer.field(field), Some(value), "{answer:?}");
    }
    assert_eq!(answer.field("set-cookie"), None);
}

#[tokio::test]
async fn what_is_not_asked_properly_is_refused() {
    let address = busy_host().await.serve().await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: attacker.example\r\n\r\n", 421),
        ("GET /metrics HTTP/1.1\r\nHost: attacker.example:80\r\n\r\n", 421),
        ("GET /other HTTP/1.1\r\nHost: attacker.example\r\n\r\n", 421),
        ("GET http://attacker.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405),
        ("DELETE /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    ] {
        let answer = exchange(address, request.to_owned()).await;
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        assert!(!answer.body.contains("2001:db8"), "{answer:?}");
        guarded(&answer);
    }
    let allowed = exchange(address, "PUT / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n".to_owned()).await;
    assert_eq!(allowed.field("allow"), Some("GET, HEAD"));
    let head = exchange(address, "HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_owned()).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn the_page_says_what_the_records_say_and_escapes_what_clients_said() {
    let host = busy_host().await;
    let page = get(host.serve().await, "/").await.body;
    for expected in [
        "<title>mx1.example.org: mail over IPv6</title>",
        "<strong>enforce</strong>",
        r#"<h2 id="refused-heading">Refused now <span class="count">1</span></h2>"#,
        r#"<th scope="row" class="network">2001:db8:1::/64</th>"#,
        "2001:db8:7::/64",
        "smtp-fallback cache exempt 2001:db8:7:: --for 7d",
        "3 calls failed: deadline",
        "test-host 1.0",
    ] {
        assert!(page.contains(expected), "{expected} in\n{page}");
    }
    assert_eq!(page.matches("<script").count(), 1, "its own only: {page}");
    assert!(!page.contains("</bdi></main>'"), "{page}");
    assert!(page.contains(r"script&#62;\u{202e}\u{1b}</bdi>"), "{page}");
    assert!(page.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'));
    for section in ["state", "refused", "never", "waiting", "let-in", "clients"] {
        assert!(page.contains(&format!("<section id=\"{section}\" aria-labelledby=\"{section}-heading\">")), "{section}");
    }
    // As many ends as beginnings.
    for element in ["section", "table", "div", "dl", "dd", "article", "bdi", "time", "span", "main", "p", "li", "ul", "h2", "h3"]
    {
        let begins = page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
        assert_eq!(begins, page.matches(&format!("</{element}>")).count(), "{element} in\n{page}");
    }
}

#[tokio::test]
async fn a_host_without_mail_says_so() {
    let host = Host::new(r#"{"mode": "observe"}"#);
    host.census(now()).await;
    let page = get(host.serve().await, "/").await.body;
    for expected in [
        "All is well.",
        "<strong>observe</strong>",
        "Nothing is refused at the moment.",
        "No such client is known.",
        "No mail waits at the moment.",
        "No network is let in at the moment.",
    ] {
        assert!(page.contains(expected), "{expected} in\n{page}");
    }
}

/// A store that gives no records, and says why. It counts its scans.
#[derive(Default)]
struct Broken(AtomicU32);

impl Store for Broken {
    fn get_many<'a>(&'a self, _: &'a [Key], _: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        Box::pin(async { Err(StoreError::Unavailable("it is down".into())) })
    }

    fn compare_and_set<'a>(&'a self, _: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(async { Err(StoreError::Unavailable("it is down".into())) })
    }

    fn scan<'a>(&'a self, cursor: Cursor, _: usize, _: u64) -> BoxFuture<'a, Result<Page, StoreError>> {
        // Leads back to where it came from.
        self.0.fetch_add(1, Ordering::Relaxed);
        let next = if cursor.0.is_empty() { Cursor("1".into()) } else { cursor };
        Box::pin(async { Ok(Page { records: Vec::new(), next: Some(next) }) })
    }

    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
        Box::pin(async { Err(StoreError::Unavailable("it is down".into())) })
    }

    fn health(&self) -> Health {
        let problem = Some("no connection to redis://store.example since 12:00".into());
        Health { kind: "redis".into(), problem, serves_local_copy: true, timeouts: 1234, ..Health::default() }
    }
}

#[tokio::test]
async fn healthz_has_a_line_for_each_problem_and_the_page_too() {
    let state = |_| PolicyState { mode: None, problem: Some("line 1: found \"x\"\nline 2: <b>".into()) };
    let store = Arc::new(Broken::default());
    let host = Host::with_store("{}", Arc::clone(&store) as Arc<dyn Store>, state);
    let error = host.monitor.take_census(now()).await.expect_err("it leads nowhere");
    assert_eq!(store.0.load(Ordering::Relaxed), 2, "it is not asked on and on");
    let address = host.serve().await;
    let health = get(address, "/healthz").await;
    assert_eq!(health.status, 503);
    assert_eq!(
        health.body,
        format!(
            "policy: no policy is loaded: everything is accepted\n\
             policy: line 1: found \"x\"; line 2: <b>\n\
             store: no connection to redis://store.example since 12:00\n\
             census: the records could not be read for this report: {error}\n"
        )
    );
    assert_eq!(get(address, "/status.json").await.status, 503, "there is no report");
    let page = get(address, "/").await.body;
    for expected in [
        "none is loaded",
        "no connection to redis",
        "line 2: &#60;b&#62;",
        "a local copy serves",
        "1,234 calls",
        "have not been read yet",
    ] {
        assert!(page.contains(expected), "{expected} in\n{page}");
    }
    let metrics = get(address, "/metrics").await.body;
    for sample in ["smtp_fallback_policy_loaded 0", "smtp_fallback_store_up 0", "smtp_fallback_store_timeouts_total 1234"] {
        assert!(metrics.contains(sample), "{sample} in\n{metrics}");
    }
    assert!(!metrics.contains("smtp_fallback_waiting_mails"), "nothing was read: {metrics}");
}

#[tokio::test]
async fn a_host_that_does_its_work_is_healthy_whatever_else_is_to_be_said() {
    let problem = "line 1, column 1: found \"}\"; the policy before stays in force";
    let host = Host::with_state("{}", move |mode| PolicyState { mode: Some(mode), problem: Some(problem.into()) });
    let address = host.serve().await;
    let health = get(address, "/healthz").await;
    assert_eq!((health.status, health.body.as_str()), (200, format!("ok\npolicy: {problem}\n").as_str()));
    let page = get(address, "/").await.body;
    assert!(page.contains("the policy before stays in force") && !page.contains("All is well."), "{page}");
}

#[tokio::test]
async fn a_store_that_is_away_is_no_reason_to_end_the_host() {
    let store = Arc::new(Broken::default());
    let host = Host::with_store("{}", store as Arc<dyn Store>, |mode| PolicyState { mode: Some(mode), problem: None });
    let address = host.serve().await;
    let health = get(address, "/healthz").await;
    assert_eq!(health.status, 200, "{}", health.body);
    assert!(health.body.starts_with("ok\nstore: no connection to redis://store.example since 12:00\n"), "{}", health.body);
    assert!(get(address, "/metrics").await.body.contains("smtp_fallback_store_up 0"), "an alert says so");
}
