//! What is in the way when sockets are opened, and whom they belong to.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;

use nix::unistd::{Gid, Group, geteuid, getgid};

use crate::mta::{Mta, POSTFIX, Reply};
use crate::program::{Milter, Setting, command, folder};

/// What the program says when it ends with an error at the start.
fn fails(setting: &Setting, prepare: impl FnOnce(&std::path::Path)) -> String {
    let folder = folder(setting, "127.0.0.1:1");
    prepare(folder.path());
    let output = command(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[test]
fn what_cannot_be_opened_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("inet:{}", taken.local_addr().unwrap());
    let listen: &'static str = format!("\"unix:milter.sock\", \"{name}\"").leak();
    let said = fails(&Setting { listen, ..Setting::default() }, |_| {});
    assert!(said.contains(&format!("listen: {name} cannot be bound")) && said.contains("choose another port"), "{said}");

    // No host's address (RFC 5737).
    let said = fails(&Setting { listen: "\"inet:192.0.2.1:8894\"", ..Setting::default() }, |_| {});
    assert!(said.contains("inet:192.0.2.1:8894") && said.contains("an address of this machine"), "{said}");

    // A file that is no socket is nobody's to remove.
    let said = fails(&Setting::default(), |folder| fs::write(folder.join("milter.sock"), "precious").unwrap());
    assert!(said.contains("milter.sock") && said.contains("is no socket"), "{said}");

    let said = fails(&Setting { listen: "\"unix:nowhere/milter.sock\"", ..Setting::default() }, |_| {});
    assert!(said.contains("nowhere/milter.sock"), "{said}");

    let said = fails(&Setting::top("socket_group = \"nobody-has-this\""), |_| {});
    assert!(said.contains("nobody-has-this"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_belongs_to_the_group_that_is_named() {
    // Only root can give it to another group than its own.
    let other = if geteuid().is_root() { Gid::from_raw(1) } else { getgid() };
    let Some(group) = Group::from_gid(other).unwrap() else { panic!("the group {other} has no name on this machine") };
    let top: &'static str = format!("socket_group = {:?}", group.name).leak();
    let milter = Milter::start(Setting::top(top)).await;
    assert_eq!(fs::metadata(milter.path().join("milter.sock")).unwrap().gid(), other.as_raw());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_closed_on_a_port_says_where_it_came_from() {
    for (kind, has_peer) in [("inet", true), ("unix", false)] {
        let listen = "\"unix:milter.sock\", \"inet:127.0.0.1:0\"";
        let milter = Milter::start(Setting { listen, tables: "[limits]\nconnections = 1", ..Setting::default() }).await;
        let mut held = Mta::connect(&milter.socket(kind), POSTFIX);
        assert_eq!(Mta::silent(&milter.socket(kind)).reply(), Reply::Closed, "there is room for one");
        held.send_raw(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(held.reply(), Reply::Closed);
        for event in ["event=\"too-many-connections\"", "event=\"mta-failure\""] {
            let line = milter.logged(&[event]);
            assert_eq!(line.contains("peer=127.0.0.1:"), has_peer, "{kind}: {line}");
        }
    }
}
