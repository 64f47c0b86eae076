//! Names and passwords.

use smtp_fallback_store::redis::{RedisSettings, RedisStore};
use smtp_fallback_store::{Store, Swap};

use crate::basics::does_what_a_store_does;
use crate::server::Server;
use crate::{connect, network, set, settings};

fn with_password(server: &Server, password: &str) -> RedisSettings {
    let path = server.folder().join(format!("password-{}", password.trim().len()));
    std::fs::write(&path, password).unwrap();
    RedisSettings { password_file: Some(path), ..settings(server.url()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_from_a_file() {
    let server = Server::with(|_| vec!["--requirepass".to_owned(), "of the tests' own".to_owned()]);
    let store = connect(&with_password(&server, "of the tests' own\n")).await;
    assert_eq!(set(&store, network(1), None, b"a").await, Ok(Swap::Stored));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_password_it_is_away_and_says_why() {
    let server = Server::with(|_| vec!["--requirepass".to_owned(), "right".to_owned()]);
    for settings in [with_password(&server, "mistaken"), settings(server.url())] {
        let store = RedisStore::connect(&settings).await.unwrap();
        let health = store.health();
        assert!(health.serves_local_copy);
        let problem = health.problem.unwrap();
        assert!(!problem.contains("mistaken"), "{problem}");
        assert!(problem.contains("127.0.0.1:") && problem.to_lowercase().contains("auth"), "{problem}");
        assert!(store.secret().await.is_err());
    }
}

/// The rights that the documentation names are enough, and are needed.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_few_rights() {
    let server = Server::start();
    let rights = ["~smtp-fallback:*", "resetchannels", "+@read", "+@write", "+@scripting", "+ping"];
    let acl = |name: &'static str, rights: &[&str]| {
        let words = [&["ACL", "SETUSER", name, "on", ">word", "-@all"], rights].concat();
        let () = server.ask(&words);
        RedisSettings { username: Some(name.to_owned()), ..with_password(&server, "word") }
    };
    let store = connect(&acl("enough", &rights)).await;
    does_what_a_store_does(&store).await;
    assert!(store.secret().await.is_ok());
    for missing in 2..rights.len() {
        let fewer: Vec<&str> = rights.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, right)| *right).collect();
        let store = RedisStore::connect(&acl("fewer", &fewer)).await.unwrap();
        let problem = store.health().problem.unwrap_or_else(|| panic!("works without {}", rights[missing]));
        assert!(problem.contains("permissions") || problem.contains("can't run"), "{problem}");
        let () = server.ask(&["ACL", "DELUSER", "fewer"]);
    }
}
