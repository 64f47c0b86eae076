use std::fs;

use smtp_fallback_demo::tls::{Pki, renew};

use super::*;

pub(crate) fn new_pki() -> Pki {
    Pki::new().expect("a folder")
}

pub(crate) fn pki_files(pki: &Pki) -> Files {
    let path = |name| pki.path().join(name);
    Files { certificate: path("mx.pem"), key: path("mx.key"), client_ca: None }
}

pub(crate) fn client_ca_files(pki: &Pki) -> Files {
    Files { client_ca: Some(pki.authority()), ..pki_files(pki) }
}

fn error(files: Files) -> String {
    Certificates::load(files).err().expect("cannot be used").to_string()
}

#[test]
fn errors_name_the_file_and_what_to_do() {
    let pki = new_pki();
    let files = pki_files(&pki);
    Certificates::load(files.clone()).expect("can be used");
    let missing = error(Files { certificate: "/nowhere/mx.pem".into(), ..files.clone() });
    assert!(missing.starts_with("/nowhere/mx.pem: no certificates can be read"), "{missing}");
    let swapped = error(Files { certificate: files.key.clone(), ..files.clone() });
    assert!(swapped.contains("mx.key: has no certificate in it; it must hold certificates in PEM"), "{swapped}");
    let swapped = error(Files { key: files.certificate.clone(), ..files.clone() });
    assert!(swapped.contains("mx.pem: no private key can be read"), "{swapped}");
    let foreign = new_pki();
    let mixed = error(Files { key: pki_files(&foreign).key, ..files.clone() });
    assert!(mixed.contains("must belong together"), "{mixed}");
    let no_authority = error(Files { client_ca: Some(files.key.clone()), ..files });
    assert!(no_authority.contains("mx.key: has no certificate"), "{no_authority}");
}

#[test]
fn a_bad_reload_keeps_what_was_there() {
    let pki = new_pki();
    let certificates = Certificates::load(pki_files(&pki)).expect("can be used");
    let before = certificates.current();
    fs::write(pki_files(&pki).key, "no key").expect("writable");
    certificates.reload().expect_err("there is no key");
    assert!(Arc::ptr_eq(&before, &certificates.current()));
    renew(pki.path(), "mx2.demo.example").expect("writable");
    certificates.reload().expect("can be used");
    assert!(!Arc::ptr_eq(&before, &certificates.current()));
}

#[test]
fn a28_only_a_chain_to_the_authority_is_verified() {
    let pki = new_pki();
    let loaded = Certificates::load(client_ca_files(&pki)).expect("can be used").current();
    let (own, _) = pki.client("Mail.Client.example", true).expect("signed");
    assert_eq!(loaded.verified_names(std::slice::from_ref(&own)), Some(vec!["mail.client.example".to_owned()]));
    assert_eq!(loaded.verified_names(&[]), None);
    assert_eq!(loaded.verified_names(&[pki.client("mail.client.example", false).expect("signed").0]), None, "signed by itself");
    assert_eq!(
        loaded.verified_names(&[new_pki().client("mail.client.example", true).expect("signed").0]),
        None,
        "by another authority"
    );
    assert_eq!(loaded.verified_names(&[CertificateDer::from(vec![1, 2, 3])]), None);
    let without = Certificates::load(pki_files(&pki)).expect("can be used").current();
    assert_eq!(without.verified_names(&[own]), None, "nobody is verified where no authority is named");
}
