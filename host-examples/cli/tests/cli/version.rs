//! `version`: the program, the host, and a component in a file.

use crate::host::{COMPONENT, Host, program, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tells_what_the_host_runs() {
    let host = Host::start();
    let ran = host.run(&["version"]).await;
    assert_eq!((ran.status, ran.error.as_str()), (0, ""), "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[0], format!("smtp-fallback {}, contract 0.1.0", env!("CARGO_PKG_VERSION")));
    assert!(lines[1].starts_with("a-host 1.2.3 at /") && lines[1].ends_with(&format!("with SHA-256 {COMPONENT}")), "{ran:?}");
    let json = host.run(&["version", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["host"]["component"], COMPONENT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compares_a_file_with_what_the_host_runs() {
    let host = Host::start();
    let file = |name: &str, content: &[u8]| {
        let path = host.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // COMPONENT is the SHA-256 of these three octets.
    let same = host.run(&["version", &file("same.wasm", b"abc")]).await;
    assert_eq!(same.status, 0, "{same:?}");
    assert!(same.out.ends_with(&format!("same.wasm: 3 octets, not a policy component, SHA-256 {COMPONENT}\n")), "{same:?}");
    let other = host.run(&["version", &file("other.wasm", b"smtp-fallback:policy/policy@9.8.7#decide")]).await;
    assert_eq!(other.status, 1, "{other:?}");
    assert!(other.out.contains("contract 9.8.7") && other.out.contains("does not run this file"), "{other:?}");
    let missing = host.run(&["version", "/no/such/file"]).await;
    assert_eq!(missing.status, 2, "{missing:?}");
    assert!(missing.error.contains("/no/such/file"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn needs_no_host() {
    let mut command = program();
    command.args(["--socket", "/no/such/control.sock", "version"]);
    let ran = run(command).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(
        ran.out.contains("contract 0.1.0")
            && ran.out.contains("the host was not asked: ")
            && ran.out.contains("/no/such/control.sock"),
        "{ran:?}"
    );
    // A script that asks whether a file is in force is not to take silence for a yes.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("component.wasm");
    std::fs::write(&file, b"abc").unwrap();
    let mut command = program();
    command.args(["--socket", "/no/such/control.sock", "version"]).arg(&file);
    let ran = run(command).await;
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.out.contains(COMPONENT) && ran.error.contains("nothing to compare with"), "{ran:?}");
}
