//! The committed corpus of decisions (see fuzz/README.md), of which each call is made to the shipped component, too.

use std::path::Path;

use smtp_fallback_policy::any::{Asked, check_decide};
use smtp_fallback_tests::{Embedded, Face, Native};

#[test]
fn the_component_decides_what_the_library_decides() {
    let component = Embedded::component();
    let mut calls = 0;
    let mut refusals = 0;
    for folder in ["corpus/decide", "corpus/decide/found"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in folder.read_dir().expect("the folder is there") {
            let path = entry.expect("an entry of it").path();
            if !path.is_file() {
                continue;
            }
            let mut embedded = Embedded::new(&component);
            let mut configured = false;
            check_decide(&std::fs::read(&path).expect("readable"), |asked| {
                let Asked { policy, secret, connection, envelope, message, auth_results, .. } = *asked;
                if !configured {
                    embedded.configure(policy, secret).expect("the library took this policy");
                    configured = true;
                }
                let place = path.display();
                assert_eq!(embedded.keys(connection, envelope, message), asked.keys, "{place}");
                assert_eq!(&embedded.decide(connection, envelope, message, auth_results), asked.decision, "{place}");
                assert_eq!(embedded.explain(connection, envelope, message, auth_results), asked.told, "{place}");
                for record in &connection.records {
                    assert_eq!(embedded.inspect(record), Native::default().inspect(record), "{place}");
                }
                calls += 1;
                refusals += usize::from(asked.told.contains("refuse with"));
            });
        }
    }
    assert!(calls > 200 && refusals > 40, "{calls} calls, {refusals} refusals");
}
