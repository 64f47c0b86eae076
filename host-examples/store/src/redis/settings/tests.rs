use std::io::Write as _;

use super::*;

fn problem(settings: &RedisSettings) -> String {
    settings.check().map(|_| ()).unwrap_err().to_string()
}

fn settings() -> RedisSettings {
    RedisSettings::new("redis://192.0.2.1")
}

fn file(contents: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(contents).unwrap();
    file
}

fn servers(urls: &[&str]) -> RedisSettings {
    RedisSettings { servers: urls.iter().map(|url| (*url).to_owned()).collect(), ..settings() }
}

#[test]
fn the_defaults_are_sound() {
    let read: RedisSettings = serde_json::from_str(r#"{"servers": ["redis://192.0.2.1"]}"#).unwrap();
    assert_eq!(read, settings());
    let checked = read.check().unwrap();
    assert_eq!((checked.prefix.as_str(), checked.local_records), ("smtp-fallback:", 100_000));
    assert_eq!((checked.time_limit, checked.address.as_str()), (Duration::from_millis(10), "192.0.2.1:6379"));
    let error = serde_json::from_str::<RedisSettings>(r#"{"servers": [], "timeout": 1}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `timeout`"), "{error}");
}

#[test]
fn urls() {
    for (url, address) in [
        ("redis://192.0.2.1:7000", "192.0.2.1:7000"),
        ("redis://store.example/3", "store.example:6379"),
        ("redis://[2001:db8::1]:7000", "2001:db8::1:7000"),
        ("rediss://store.example", "store.example:6379"),
        ("unix:///run/redis/socket", "/run/redis/socket"),
    ] {
        assert_eq!(servers(&[url]).check().unwrap().address, address);
    }
    for url in [
        "",
        "192.0.2.1",
        "http://192.0.2.1",
        "redis://",
        "unix://",
        "unix:///",
        "redis://192.0.2.1:x",
        "redis://192.0.2.1/x",
        "redis://0.0.0.0",
    ] {
        let text = problem(&servers(&[url]));
        assert!(text.starts_with("servers: number 1 is ") && text.contains("expected redis://HOST:PORT"), "{text}");
    }
    for url in ["rediss://192.0.2.1/#insecure", "redis://192.0.2.1/?protocol=3", "unix:///socket?db=1&pass=x"] {
        assert!(problem(&servers(&[url])).contains("remove it"), "{url}");
    }
}

#[test]
fn a_password_in_a_url_is_refused_and_not_shown() {
    for url in ["redis://user:hunter2@192.0.2.1", "redis://:hunter2@192.0.2.1", "rediss://hunter2@store.example/0"] {
        let settings = servers(&[url]);
        let text = problem(&settings);
        assert!(text.contains("password_file") && !text.contains("hunter2"), "{text}");
        let text = format!("{settings:?}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn one_server_or_a_cluster() {
    assert!(problem(&servers(&[])).starts_with("servers: found none; expected one"));
    let two = servers(&["redis://192.0.2.1", "redis://192.0.2.2"]);
    assert_eq!(problem(&two), "servers: found 2, expected one; if they are nodes of one cluster, set cluster = true");
    let cluster = |urls: &[&str]| RedisSettings { cluster: true, ..servers(urls) };
    assert_eq!(cluster(&two.servers.iter().map(String::as_str).collect::<Vec<_>>()).check().unwrap().servers.len(), 2);
    assert!(cluster(&["redis://192.0.2.1/0"]).check().is_ok());
    assert!(problem(&cluster(&["redis://192.0.2.1/1"])).contains("found a database other than 0"));
    assert!(problem(&cluster(&["unix:///socket"])).contains("found a UNIX socket of a cluster"));
    assert!(
        problem(&cluster(&["redis://192.0.2.1", "rediss://192.0.2.2"])).contains("all nodes of a cluster use TLS, or none does")
    );
}

#[test]
fn the_password_is_one_line() {
    let with = |contents: &[u8]| {
        let file = file(contents);
        let settings = RedisSettings { password_file: Some(file.path().to_owned()), ..settings() };
        settings.check().map(|checked| checked.servers[0].redis_settings().password().map(str::to_owned))
    };
    for contents in [&b"a word"[..], b"a word\n", b"a word\r\n"] {
        assert_eq!(with(contents), Ok(Some("a word".to_owned())));
    }
    assert_eq!(with(" é \n".as_bytes()), Ok(Some(" é ".to_owned())));
    for contents in [&b""[..], b"\n", b"one\ntwo\n", b"\xff"] {
        let text = with(contents).unwrap_err().to_string();
        assert!(text.contains("holds no password, expected one line"), "{text}");
    }
    let missing = RedisSettings { password_file: Some("/nowhere/password".into()), ..settings() };
    assert!(
        problem(&missing).starts_with("password_file: /nowhere/password cannot be read: No such file"),
        "{}",
        problem(&missing)
    );
    let nameless = RedisSettings { username: Some("mx".to_owned()), ..settings() };
    assert!(problem(&nameless).starts_with("username: found without password_file"));
}

#[test]
fn certificates() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["mx.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let (certificate, key, none) = (file(certificate.pem().as_bytes()), file(key.serialize_pem().as_bytes()), file(b"none"));
    let path = |file: &tempfile::NamedTempFile| Some(file.path().to_owned());
    let tls = servers(&["rediss://store.example"]);
    assert!(tls.check().unwrap().tls.unwrap().root_cert.is_none(), "the system's");
    let mut all =
        RedisSettings { ca: path(&certificate), client_certificate: path(&certificate), client_key: path(&key), ..tls.clone() };
    let checked = all.check().unwrap().tls.unwrap();
    assert!(checked.root_cert.is_some() && checked.client_tls.is_some());
    assert_eq!(all.files().count(), 3);

    assert!(problem(&RedisSettings { ca: path(&certificate), ..settings() }).contains("write rediss://, or remove it"));
    assert!(problem(&RedisSettings { ca: path(&none), ..tls.clone() }).contains("holds no certificates"));
    assert!(problem(&RedisSettings { client_certificate: path(&certificate), ..tls.clone() }).contains("add the key"));
    assert!(problem(&RedisSettings { client_key: path(&key), ..tls.clone() }).contains("add the certificate"));
    let broken = RedisSettings { client_key: path(&none), ..all };
    assert!(super::super::link::Client::new(&broken.check().unwrap()).is_err(), "no key in the file");
}

#[test]
fn ranges() {
    let prefix = |prefix: &str| RedisSettings { prefix: prefix.to_owned(), ..settings() };
    assert!(prefix("").check().is_ok());
    assert!(prefix(&"x".repeat(128)).check().is_ok());
    for wrong in ["x".repeat(129), "ü:".to_owned(), "a\nb".to_owned()] {
        assert!(problem(&prefix(&wrong)).contains("up to 128 octets of printable ASCII"));
    }
    let limit = |time_limit_ms| RedisSettings { time_limit_ms, ..settings() };
    assert!(limit(1).check().is_ok() && limit(1000).check().is_ok());
    assert!(problem(&limit(0)).contains("expected 1 to 1000"));
    assert!(problem(&limit(1001)).contains("expected 1 to 1000"));
    assert!(problem(&RedisSettings { local_records: 0, ..settings() }).contains("expected at least 1"));
}
