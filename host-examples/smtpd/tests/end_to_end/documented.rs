//! That the README says what there is.

#[allow(dead_code)] // It serves several test programs.
#[path = "../../../daemon/tests/documented/events.rs"]
mod events;

use smtp_fallback_store::redis::RedisSettings;

#[test]
fn the_table_of_events_has_all_events_of_its_own_and_no_others() {
    events::assert_own("smtpd");
}

#[test]
fn the_table_of_the_shared_store_has_all_its_settings() {
    // Which there are, an error says.
    let error = toml::from_str::<RedisSettings>("nonsense = 1").unwrap_err().to_string();
    let (_, expected) = error.split_once("expected one of ").unwrap();
    let settings: Vec<_> = expected.split('`').skip(1).step_by(2).collect();
    assert!(settings.contains(&"time_limit_ms"), "{error}");
    let readme = events::readme("smtpd");
    let rows: Vec<_> = readme.lines().filter(|line| line.starts_with("| `[store.redis]` `")).collect();
    for setting in settings {
        assert!(rows.iter().any(|row| row.contains(&format!("`{setting}`"))), "{setting} is not in the README");
    }
}
