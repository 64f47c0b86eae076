//! The server, by real sockets.
#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{Host, Mail, exchange, get, mail, now};
use smtp_fallback_monitor::PolicyState;
use smtp_fallback_policy::contract::{Key, StoredRecord};
use smtp_fallback_store::{BoxFuture, Cursor, Health, MemoryStore, Page, Secret, Store, StoreError, Swap, Write};

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

#[tokio::test]
async fn in_observe_mode_the_page_says_where_to_look() {
    for (mode, is_said) in [("observe", true), ("enforce", false)] {
        let host = Host::new(&format!(r#"{{"mode": "{mode}"}}"#));
        host.census(now()).await;
        let page = get(host.serve().await, "/").await.body;
        let words = "no mail is refused, so the lists of refused mail below stay empty";
        assert_eq!((page.contains(words), page.contains("smtp_fallback_would_decisions_total")), (is_said, is_said), "{page}");
    }
}

#[tokio::test]
async fn every_table_can_be_scrolled_by_itself() {
    let host = busy_host().await;
    let page = get(host.serve().await, "/").await.body;
    let tables: Vec<&str> = page.split("<table").collect();
    assert!(tables.len() > 4, "{page}");
    for before in &tables[..tables.len() - 1] {
        let tag = before.trim_end().rsplit_once('<').map_or("", |(_, tag)| tag);
        assert!(
            tag.starts_with("div class=\"scroll\"") && tag.contains("tabindex=\"0\""),
            "a narrow page scrolls sideways: <{tag}"
        );
    }
    assert!(page.contains("was brought over IPv4, as it was asked to"), "{page}");
    assert!(page.contains("<dt>Came</dt><dd>3 times without authentication since "), "{page}");
}

/// A store that works, with this health.
struct Ailing(MemoryStore, Health);

impl Store for Ailing {
    fn get_many<'a>(&'a self, keys: &'a [Key], now: u64) -> BoxFuture<'a, Result<Vec<StoredRecord>, StoreError>> {
        self.0.get_many(keys, now)
    }

    fn compare_and_set<'a>(&'a self, write: Write<'a>) -> BoxFuture<'a, Result<Swap, StoreError>> {
        self.0.compare_and_set(write)
    }

    fn scan<'a>(&'a self, cursor: Cursor, limit: usize, now: u64) -> BoxFuture<'a, Result<Page, StoreError>> {
        self.0.scan(cursor, limit, now)
    }

    fn secret(&self) -> BoxFuture<'_, Result<Secret, StoreError>> {
        self.0.secret()
    }

    fn health(&self) -> Health {
        self.1.clone()
    }
}

#[tokio::test]
async fn where_updates_were_lost_not_all_is_well() {
    for (dropped, words) in
        [(0, "All is well."), (1, "1 update was lost since the start"), (1008, "1,008 updates were lost since the start")]
    {
        let health = Health { kind: "redis".into(), dropped, timeouts: dropped, ..Health::default() };
        let store = Arc::new(Ailing(MemoryStore::new(100), health));
        let host = Host::with_store("{}", store, |mode| PolicyState { mode: Some(mode), problem: None });
        let page = get(host.serve().await, "/").await.body;
        assert!(page.contains(words) && page.contains("All is well.") == (dropped == 0), "{page}");
        assert_eq!(page.contains("<br>1 call without an answer in time"), dropped == 1, "{page}");
        assert_eq!(page.contains("<br>1,008 calls without an answer in time"), dropped == 1008, "{page}");
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

#[tokio::test]
async fn a_policy_that_cannot_be_used_is_seen_in_a_metric_and_on_one_line() {
    let problem = "policy.json:\n  line 1: found \"}\"\n\n  line 2: found \"]\"\n";
    let host = Host::with_state("{}", move |mode| PolicyState { mode: Some(mode), problem: Some(problem.into()) });
    let address = host.serve().await;
    let health = get(address, "/healthz").await;
    assert_eq!(health.body, "ok\npolicy: policy.json: line 1: found \"}\"; line 2: found \"]\"\n");
    let metrics = get(address, "/metrics").await.body;
    assert!(
        metrics.contains("\nsmtp_fallback_policy_problem 1\n") && metrics.contains("\nsmtp_fallback_policy_loaded 1\n"),
        "{metrics}"
    );
    let metrics = get(Host::new("{}").serve().await, "/metrics").await.body;
    assert!(metrics.contains("\nsmtp_fallback_policy_problem 0\n"), "{metrics}");
}
