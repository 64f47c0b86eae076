//! What versions promise (DESIGN.md): a published contract does not change, today's hosts run the component of each published version, and
//! hosts of both share records.
#![allow(clippy::unwrap_used)] // A test may panic.

use std::fs;
use std::path::PathBuf;

use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::{
    AuthResults, CONTRACT_VERSION, Connection, Decision, Description, Envelope, Key, Message, PolicyError, StoredRecord, Summary,
};
use smtp_fallback_tests::{Embedded, Face, Native, Vector, run, vectors_in};

/// A published version.
struct Frozen {
    version: String,
    folder: PathBuf,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn all() -> Vec<Frozen> {
    let folders =
        fs::read_dir(root().join("frozen")).expect("the folder of published versions").map(|entry| entry.unwrap().path());
    let folders = folders.filter(|path| path.is_dir());
    folders
        .map(|folder| Frozen { version: folder.file_name().unwrap().to_str().unwrap().to_owned(), folder })
        .inspect(|frozen| assert!(frozen.folder.join("policy.wit").exists(), "{}: no policy.wit", frozen.version))
        .collect()
}

impl Frozen {
    fn contract(&self) -> String {
        fs::read_to_string(self.folder.join("policy.wit")).unwrap()
    }

    fn component(&self) -> PathBuf {
        self.folder.join("smtp-fallback-policy.wasm")
    }

    fn vectors(&self) -> Vec<Vector> {
        let vectors = vectors_in(&self.folder.join("vectors"));
        assert!(!vectors.is_empty(), "{}: no vectors", self.version);
        vectors
    }

    fn holds(&self, face: &mut dyn Face, vector: &Vector) {
        if let Err(failure) = run(face, vector) {
            panic!("{}: {failure}", self.version);
        }
    }
}

/// The lines that mean something, without the words for people.
fn meaning(contract: &str) -> Vec<&str> {
    contract.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).collect()
}

#[test]
fn a_published_contract_is_not_changed() {
    let all = all();
    assert!(!all.is_empty(), "no published version");
    for frozen in &all {
        let (version, contract) = (&frozen.version, frozen.contract());
        assert!(
            contract.contains(&format!("package smtp-fallback:policy@{version};")),
            "{version}: another version in policy.wit"
        );
    }
    let today = fs::read_to_string(root().join("../wit/policy.wit")).unwrap();
    let published = all.iter().find(|frozen| frozen.version == CONTRACT_VERSION);
    if let Some(published) = published.map(Frozen::contract) {
        assert_eq!(
            meaning(&today),
            meaning(&published),
            "wit/policy.wit is not the contract that was published as {CONTRACT_VERSION}: give it a new version, there and in \
             src/contract/mod.rs (DESIGN.md, \"What do versions promise?\")"
        );
    }
}

#[test]
fn a_published_component_is_the_one_that_was_published() {
    let published = fs::read_to_string(root().join("frozen/README.md")).unwrap();
    for frozen in all() {
        let component = Embedded::component_in(&frozen.component());
        let row = format!("| {} | {} |", frozen.version, component.sha256());
        assert!(published.contains(&row), "frozen/README.md has no line {row}");
    }
}

#[test]
fn todays_hosts_run_each_published_component() {
    for frozen in all() {
        let component = Embedded::component_in(&frozen.component());
        for vector in frozen.vectors() {
            frozen.holds(&mut Embedded::new(&component), &vector);
        }
    }
}

#[test]
fn todays_hosts_share_records_with_each_published_component() {
    for frozen in all() {
        let component = Embedded::component_in(&frozen.component());
        for vector in frozen.vectors() {
            for first in 0..2 {
                let hosts: [Box<dyn Face>; 2] = [Box::new(Native::default()), Box::new(Embedded::new(&component))];
                let mut shared = Shared { hosts, calls: first };
                frozen.holds(&mut shared, &vector);
            }
        }
    }
}

/// Two hosts of one store, which serve mail in turn.
struct Shared {
    hosts: [Box<dyn Face>; 2],
    /// Decisions so far.
    calls: usize,
}

impl Shared {
    fn turn(&mut self) -> &mut dyn Face {
        self.hosts[self.calls % 2].as_mut()
    }
}

impl Face for Shared {
    fn configure(&mut self, policy_json: &str, secret: &[u8]) -> Result<Summary, Vec<PolicyError>> {
        let [one, other] = &mut self.hosts;
        let _ = one.configure(policy_json, secret);
        other.configure(policy_json, secret)
    }

    fn schema(&mut self) -> String {
        self.turn().schema()
    }

    fn describe(&mut self) -> Description {
        self.turn().describe()
    }

    fn keys(&mut self, connection: &Connection, envelope: Option<&Envelope>, message: Option<&Message>) -> Vec<Key> {
        self.turn().keys(connection, envelope, message)
    }

    fn decide(
        &mut self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> Decision {
        let decision = self.turn().decide(connection, envelope, message, auth_results);
        self.calls += 1;
        decision
    }

    fn explain(
        &mut self,
        connection: &Connection,
        envelope: Option<&Envelope>,
        message: Option<&Message>,
        auth_results: Option<&AuthResults>,
    ) -> String {
        self.turn().explain(connection, envelope, message, auth_results)
    }

    fn parse_address(&mut self, text: &str) -> Result<Address, String> {
        self.turn().parse_address(text)
    }

    fn inspect(&mut self, record: &StoredRecord) -> Result<String, String> {
        self.turn().inspect(record)
    }

    fn parse_authentication_results(&mut self, headers: &[String], trusted_ids: &[String]) -> AuthResults {
        self.turn().parse_authentication_results(headers, trusted_ids)
    }
}
