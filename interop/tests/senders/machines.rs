//! The machines themselves.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use smtp_fallback_interop::{IPV4, IPV6, Machine, PATIENCE, Root, until};

/// Each has its own files, name, network and log, whatever the others and this system have.
#[test]
fn are_strangers_to_each_other() {
    let root = Root::with(&[]);
    let (one, two) = (Machine::start(&root, "one.example"), Machine::start(&root, "two.example"));
    one.write("/etc/only-here", "one");
    assert_eq!(one.shell("cat /etc/only-here; hostname"), "oneone.example\n");
    assert!(!two.path("/etc/only-here").exists() && !Path::new("/etc/only-here").exists());
    one.shell("logger --socket /dev/log 'said by one'");
    until("the line is in the log", || if one.log().contains("said by one") { Ok(()) } else { Err(one.log()) });
    assert!(!two.log().contains("said by one"));

    // The same addresses are two listeners.
    let listen = |machine: &Machine, word: &'static str| {
        let listener = machine.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 25)).unwrap()).join().unwrap();
        std::thread::spawn(move || {
            let (mut stream, from) = listener.accept().unwrap();
            stream.write_all(word.as_bytes()).unwrap();
            from.ip().to_canonical().to_string()
        })
    };
    let ask = |machine: &Machine, address: &'static str| {
        let read = machine.enter(move || {
            let mut word = String::new();
            TcpStream::connect(address).unwrap().read_to_string(&mut word).unwrap();
            word
        });
        read.join().unwrap()
    };
    let (first, second) = (listen(&one, "one"), listen(&two, "two"));
    assert_eq!((ask(&one, "[2001:db8:77:1::3]:25"), ask(&two, "198.19.255.1:25")), ("one".to_owned(), "two".to_owned()));
    assert_eq!((first.join().unwrap().as_str(), second.join().unwrap().as_str()), (IPV6, IPV4));
}

/// What has become a daemon ends with its machine.
#[test]
fn take_their_processes_with_them() {
    let machine = Machine::start(&Root::with(&[]), "short.example");
    machine.shell("setsid sleep 1234.5 >/dev/null 2>&1 &");
    until("it runs", || if runs("1234.5") { Ok(()) } else { Err(String::new()) });
    drop(machine);
    assert!(!runs("1234.5"));
}

/// Also where the tests are killed, and can clean up nothing.
#[test]
fn leave_nothing_when_the_tests_are_killed() {
    const PLAYS_THE_TESTS: &str = "SMTP_FALLBACK_PLAYS_THE_TESTS";
    if std::env::var_os(PLAYS_THE_TESTS).is_some() {
        let machine = Machine::start(&Root::with(&[]), "killed.example");
        machine.shell("setsid sleep 2345.5 >/dev/null 2>&1 &");
        std::thread::sleep(PATIENCE);
        return;
    }
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(["--exact", "machines::leave_nothing_when_the_tests_are_killed"]).env(PLAYS_THE_TESTS, "1").stdout(Stdio::null());
    let mut tests = tests.spawn().unwrap();
    until("it runs", || if runs("2345.5") { Ok(()) } else { Err(String::new()) });
    tests.kill().unwrap();
    tests.wait().unwrap();
    until("it has ended", || if runs("2345.5") { Err(String::new()) } else { Ok(()) });
}

/// Whether a `sleep` of so long runs anywhere.
fn runs(seconds: &str) -> bool {
    let words = format!("sleep\0{seconds}\0").into_bytes();
    let is_it = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|read| read == words);
    std::fs::read_dir("/proc").unwrap().flatten().any(is_it)
}
