//! That the README, the man pages and the sample configuration say what there is.

#[allow(dead_code)] // It serves several test programs.
#[path = "../../../daemon/tests/documented/events.rs"]
mod events;

use smtp_fallback_milter::config::Config;

const SAMPLE: &str = include_str!("../../milter.toml");
const MANUAL: &str = include_str!("../../man/smtp-fallback-milter.toml.5");
/// Of the configuration file; the empty one is the file itself.
const TABLES: [&str; 7] = ["", "verify", "limits", "policy_limits", "store", "store.redis", "monitor"];

/// Which settings a table has: an error says that.
fn settings(table: &str) -> Vec<String> {
    let header = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
    let error = toml::from_str::<Config>(&format!("{header}nonsense = 1")).expect_err("nonsense").to_string();
    let (_, expected) = error.split_once("expected ").expect("what was expected");
    let names: Vec<String> = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(!names.is_empty(), "{error}");
    names
}

/// The sample with all that is commented out, by tables.
fn in_sample(table: &str) -> Vec<&'static str> {
    let lines = SAMPLE.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
    let mut within = "";
    let mut settings = Vec::new();
    for line in lines {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            within = name;
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| within == table) {
            settings.push(name);
        }
    }
    settings
}

/// The settings that have an entry in the manual's section about a table.
fn in_manual(table: &str) -> Vec<&'static str> {
    let header = if table.is_empty() { "\n.Sh SETTINGS\n".to_owned() } else { format!("\n.Ss Table {table}\n") };
    let (_, section) = MANUAL.split_once(&header).unwrap_or_else(|| panic!("no section {header:?}"));
    let section = section.split("\n.S").next().unwrap_or_default();
    section.lines().filter_map(|line| line.strip_prefix(".It Ic ")).collect()
}

#[test]
fn the_table_of_events_has_all_events_of_its_own_and_no_others() {
    events::assert_own("milter");
}

#[test]
fn the_sample_and_the_manual_have_all_settings_and_no_others() {
    for table in TABLES {
        let settings = settings(table);
        let is_table = |name: &str| TABLES.iter().any(|known| *known == name || known.strip_prefix("store.") == Some(name));
        let (sample, manual) = (in_sample(table), in_manual(table));
        for name in settings.iter().map(String::as_str).filter(|name| !is_table(name)) {
            assert!(sample.contains(&name), "{name} of [{table}] is not in milter.toml");
            assert!(manual.contains(&name), "{name} of [{table}] is not in smtp-fallback-milter.toml(5)");
        }
        for name in manual {
            assert!(settings.iter().any(|known| known == name), "smtp-fallback-milter.toml(5) has {name} in [{table}]");
        }
    }
}

#[test]
fn the_sample_can_be_read() {
    toml::from_str::<Config>(SAMPLE).expect("the sample");
}

/// In these tables all is commented out.
#[test]
fn the_sample_shows_the_defaults() {
    let begin = "host_name = \"mx.example.org\"\nlisten = [\"unix:a\"]\ncomponent = \"b\"\npolicy = \"c\"\n";
    let read = |text: &str| format!("{:?}", toml::from_str::<Config>(text).expect("a configuration"));
    for table in ["verify", "limits", "policy_limits"] {
        let (_, section) = SAMPLE.split_once(&format!("\n[{table}]\n")).expect(table);
        let section = section.split("\n\n").next().unwrap_or_default();
        let is_setting = |line: &&str| line.split_once(" = ").is_some_and(|(name, _)| !name.contains(' '));
        let shown: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_setting).collect();
        assert_eq!(shown.len(), settings(table).len());
        assert_eq!(read(&format!("{begin}[{table}]\n{}", shown.join("\n"))), read(begin), "{table}");
    }
}

#[test]
fn the_manual_names_all_options() {
    let manual = include_str!("../../man/smtp-fallback-milter.8");
    let main = include_str!("../../src/main.rs");
    let options: Vec<&str> = main.lines().filter_map(|line| line.strip_prefix("  --")?.split(' ').next()).collect();
    assert_eq!(options.len(), 5, "{options:?}");
    for option in options {
        assert!(manual.contains(&format!(".It Fl -{option}")), "--{option} is not in smtp-fallback-milter(8)");
    }
}
