//! Records in another process, by its control socket.
#![allow(clippy::unwrap_used)] // A test may panic.

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::Arc;

use smtp_fallback::{smtp_fallback_close, smtp_fallback_decide, smtp_fallback_free, smtp_fallback_keys, smtp_fallback_open};
use smtp_fallback_policy::address::Address;
use smtp_fallback_policy::contract::Key;
use smtp_fallback_store::control::{About, Control, ControlHost, DEFAULT_MODE};
use smtp_fallback_store::{MemoryStore, Store};

/// What a function answers.
fn answer(call: impl FnOnce(*mut *mut c_char) -> c_int) -> (c_int, String) {
    let mut answer = null_mut();
    let code = call(&mut answer);
    // SAFETY: each function puts a text there, which is given back once.
    unsafe {
        let text = CStr::from_ptr(answer).to_str().unwrap().to_owned();
        smtp_fallback_free(answer);
        (code, text)
    }
}

fn component() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../dist/smtp-fallback-policy.wasm");
    std::env::var_os("SMTP_FALLBACK_COMPONENT").map_or_else(built, PathBuf::from)
}

fn mail(stage: &str, number: u32) -> CString {
    let connection = format!(
        r#""connection": {{"stage": "{stage}", "client": "2001:db8:1:2::25", "listener": "mx", "ehlo-name": "mail.example", "tls": "none",
        "authenticated": false, "listener-offers": false, "keyword-shown": false, "acknowledged": false, "reachable-over-ipv4": true,
        "ipv4-arrivals-visible": false, "now": 1700000000, "nonce": 1, "records": []}}"#
    );
    let message = format!(
        r#""envelope": {{"mail-from": "smith@example.org", "recipients": ["jones@example.net"]}},
        "message": {{"message-id": "<{number}@example.org>", "size": 1000}}, "auth-results": {{"spf-mail-from": {{"result": "none", "domain": "example.org"}}, "dkim": []}}"#
    );
    CString::new(match stage {
        "end-of-data" => format!("{{{connection}, {message}}}"),
        _ => format!("{{{connection}}}"),
    })
    .unwrap()
}

/// A host that is asked for records alone.
struct Asked;

impl ControlHost for Asked {
    fn keys_of(&self, _: Address) -> Vec<Key> {
        Vec::new()
    }

    fn about(&self) -> About {
        About::default()
    }
}

#[test]
fn handles_share_the_records_of_a_host() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(1000));
    let host = {
        let _inside = runtime.enter();
        Control::bind(&socket, DEFAULT_MODE, None).unwrap()
    };
    let serving = runtime.spawn(host.serve(Arc::clone(&store), Arc::new(Asked)));

    let settings = format!(
        r#"{{"component": {:?}, "policy": {{"penalty": {{"jitter_percent": 0, "probe_one_in": 0}}}}, "store": {{"control": {socket:?}}},
        "store-ms": 1000, "deadline-ms": 10000, "instances": 2}}"#,
        component()
    );
    let settings = CString::new(settings).unwrap();
    let open = || {
        let mut handle = null_mut();
        // SAFETY: a text and a place.
        let (code, text) = answer(|answer| unsafe { smtp_fallback_open(settings.as_ptr(), &mut handle, answer) });
        assert_eq!(code, 0, "{text}");
        handle
    };
    let (first, second) = (open(), open());
    // SAFETY: both are open until the end.
    let decide = |handle, arguments: &CStr| answer(|answer| unsafe { smtp_fallback_decide(handle, arguments.as_ptr(), answer) });
    for number in 1..=7 {
        let (code, text) = decide(first, &mail("end-of-data", number));
        assert!(code == 0 && text.starts_with(r#"{"verdict":{"refuse":{"code":421"#), "{text}");
        assert_eq!(text.contains("penalty-begins"), number == 7, "{number}: {text}");
    }
    let (_, text) = decide(second, &mail("greeting", 0));
    assert!(text.starts_with(r#"{"verdict":{"refuse":{"code":451"#), "{text}");
    assert!(
        runtime.block_on(store.scan(Default::default(), 100, 1_700_000_000)).unwrap().records.len() > 7,
        "they are the host's"
    );

    // The secret is the host's too: both handles give a mail the same key.
    let keys = |handle| {
        let arguments = mail("end-of-data", 1);
        // SAFETY: both are open until the end.
        answer(|answer| unsafe { smtp_fallback_keys(handle, arguments.as_ptr(), answer) }).1
    };
    assert_eq!(keys(first), keys(second));

    // Without the host mail passes.
    serving.abort();
    drop(runtime);
    let (code, text) = decide(second, &mail("greeting", 0));
    assert!(code == 0 && text.starts_with(r#"{"verdict":"continue""#), "{text}");
    // SAFETY: opened above, and closed once.
    unsafe {
        smtp_fallback_close(first);
        smtp_fallback_close(second);
    }
}

/// A host that hangs: its queue of connections is full, and nobody takes one out.
#[test]
fn a_host_that_hangs_holds_up_one_call_and_not_all() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let _host = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut waiting = Vec::new();
    // The system's queue has some hundred places.
    for _ in 0..10_000 {
        match runtime.block_on(tokio::net::UnixStream::connect(&socket)) {
            Ok(stream) => waiting.push(stream),
            Err(_) => break,
        }
    }
    let settings =
        CString::new(format!(r#"{{"component": {:?}, "policy": {{}}, "store": {{"control": {socket:?}}}}}"#, component()))
            .unwrap();
    let mut handle = null_mut();
    // SAFETY: a text and a place.
    let (code, text) = answer(|answer| unsafe { smtp_fallback_open(settings.as_ptr(), &mut handle, answer) });
    assert_eq!(code, 0, "{text}");
    let decide = || {
        let began = std::time::Instant::now();
        let mail = mail("end-of-data", 1);
        // SAFETY: both are open until the end.
        let (code, text) = answer(|answer| unsafe { smtp_fallback_decide(handle, mail.as_ptr(), answer) });
        assert_eq!(code, 4, "{text}");
        began.elapsed()
    };
    let first = decide();
    assert!(first > std::time::Duration::from_secs(1), "it did not hang: {first:?}");
    // For ten times as long nobody waits again.
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let next = decide();
        assert!(next < std::time::Duration::from_millis(500), "{next:?}");
    }
    // SAFETY: opened above, and closed once.
    unsafe { smtp_fallback_close(handle) };
}
