//! What stands beside the mail: records on disk, metrics, the control socket.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::mta::Reply;
use crate::program::{Milter, PLAIN, Setting, message};

const IPV6: &str = "2001:db8::25";

/// The metrics as they are.
fn metrics(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_counted_and_records_can_be_asked_for() {
    let tables = "[store]\npath = \"records.redb\"\ncontrol = \"control.sock\"\n[monitor]\naddress = \"127.0.0.1:0\"";
    let mut milter = Milter::start(Setting { tables, ..Setting::default() }).await;
    let line = milter.logged(&["event=\"monitor-available\"", "address="]);
    let address = line.split_once("address=").unwrap().1.split(' ').next().unwrap().to_owned();
    assert_eq!(milter.session(IPV6).message(PLAIN, "A1", &message(1)).code(), "421");
    assert_eq!(milter.session("192.0.2.25").message(PLAIN, "B1", &message(1)), Reply::Continue);
    let counted = |stage: &str, reason: &str| {
        let page = metrics(&address);
        page.lines().any(|line| line.contains(reason) && line.contains(stage) && line.ends_with(" 1"))
    };
    assert!(counted("end-of-data", "reason=\"unauthenticated\""), "{}", metrics(&address));
    assert!(counted("end-of-data", "reason=\"ipv4\""), "{}", metrics(&address));

    milter.logged(&["event=\"control-available\""]);
    let mut control = UnixStream::connect(milter.path().join("control.sock")).unwrap();
    control.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    control.write_all(b"{\"request\":\"scan\"}\n").unwrap();
    control.shutdown(std::net::Shutdown::Write).unwrap();
    let mut records = String::new();
    control.read_to_string(&mut records).unwrap();
    assert!(records.contains("2001:db8::/64") && records.contains("exact"), "{records}");
    milter.signal("TERM");
    assert!(milter.ended().success());
    assert!(!milter.path().join("control.sock").exists() && milter.path().join("records.redb").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_served_without_them() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let tables = format!("[store]\ncontrol = \"nowhere/control.sock\"\n[monitor]\naddress = \"{}\"", taken.local_addr().unwrap());
    let milter = Milter::start(Setting { tables: tables.leak(), ..Setting::default() }).await;
    milter.logged(&["ERROR", "event=\"control-unavailable\"", "nowhere/control.sock"]);
    milter.logged(&["ERROR", "event=\"monitor-unavailable\""]);
    assert_eq!(milter.session(IPV6).message(PLAIN, "A1", &message(1)).code(), "421");
}
