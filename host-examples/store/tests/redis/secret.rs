//! The secret, while the connections stay.

use std::time::{Duration, Instant};

use smtp_fallback_store::Store;

use crate::server::Server;
use crate::{connect, settings, until};

const NAME: &str = "smtp-fallback:secret";

/// By FLUSHALL, or by eviction. A host that starts later must not make another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_secret_is_put_back() {
    let server = Server::start();
    let store = connect(&settings(server.url())).await;
    let secret = store.secret().await.unwrap();
    let () = server.ask(&["FLUSHALL"]);
    let start = Instant::now();
    while server.ask::<i64>(&["EXISTS", NAME]) == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "the secret does not come back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(connect(&settings(server.url())).await.secret().await, Ok(secret));
    assert_eq!(store.health().problem, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_is_a_problem_until_it_is_gone() {
    let server = Server::start();
    let store = connect(&settings(server.url())).await;
    let own = store.secret().await.unwrap();
    let text = server.ask::<String>(&["GET", NAME]);
    for other in ["ab".repeat(32), "none at all".to_owned()] {
        let () = server.ask(&["SET", NAME, &other]);
        let health = until(&store, |health| health.problem.is_some()).await;
        let problem = health.problem.unwrap();
        assert!(problem.contains(NAME) && problem.contains("start all hosts anew"), "{problem}");
        assert!(!problem.contains(&other) && !problem.contains(&text), "a secret is not for people: {problem}");
        assert!(!health.serves_local_copy, "the records are still good");
        let () = server.ask(&["SET", NAME, &text]);
        until(&store, |health| health.problem.is_none()).await;
    }
    assert_eq!(store.secret().await, Ok(own), "what it started with");
}
