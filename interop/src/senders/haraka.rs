//! Haraka as npm has it, with a listener that relays for its own machine.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::Options;
use crate::{Machine, until};

/// With a Node.js of its own: the system's may be too old for it.
pub(super) const PACKAGES: [&str; 2] = ["haraka@3.3.4", "node@20"];
pub(super) const LOG: &str = "/var/log/haraka.log";

/// Takes all mail of its own machine, to be sent on.
const RELAY: &str = "exports.hook_connect = function (next, connection) { connection.relaying = true; next() }\n\
                     exports.hook_mail = function (next) { next(OK) }\n\
                     exports.hook_rcpt = function (next) { next(OK) }\n";
const NODE: &str = "/opt/npm/node_modules/node/bin/node";
const PORT: u16 = 2525;

pub(super) fn start(machine: &Machine, Options { retry }: Options) {
    machine.shell(&format!("cd /opt/npm && {NODE} node_modules/haraka/bin/haraka --install /srv/haraka >/dev/null"));
    machine.write("/srv/haraka/plugins/from_here.js", RELAY);
    machine.write("/srv/haraka/config/plugins", "from_here\n");
    machine.write("/srv/haraka/config/smtp.ini", &format!("listen=127.0.0.1:{PORT}\n"));
    if let Some(seconds) = retry {
        machine.write("/srv/haraka/config/outbound.ini", &format!("temp_fail_intervals={seconds}s*100\n"));
    }
    machine.shell(&format!(
        "cd /srv/haraka && setsid {NODE} /opt/npm/node_modules/haraka/bin/haraka -c /srv/haraka >{LOG} 2>&1 </dev/null &"
    ));
    until("Haraka listens", || {
        let connected = machine.enter(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))).join().unwrap();
        connected.map(drop).map_err(|error| format!("{error}\n{}", super::Mta::Haraka.log(machine)))
    });
}

pub(super) fn send(machine: &Machine, from: &str, to: &str, message: &str) {
    let lines = [
        "EHLO localhost".to_owned(),
        format!("MAIL FROM:<{from}>"),
        format!("RCPT TO:<{to}>"),
        "DATA".to_owned(),
        format!("{}\r\n.", message.trim_end().replace('\n', "\r\n")),
        "QUIT".to_owned(),
    ];
    let sent = machine.enter(move || {
        let mut stream = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).unwrap());
        assert_eq!(code(&mut stream), "220");
        for line in lines {
            stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
            let code = code(&mut stream);
            assert!(code.starts_with(['2', '3']), "{line}: {code}");
        }
    });
    sent.join().unwrap();
}

fn code(stream: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "Haraka has closed the connection");
        if line.get(3..4) != Some("-") {
            return line.chars().take(3).collect();
        }
    }
}

pub(super) fn queue(machine: &Machine) -> String {
    // Files appear and go meanwhile.
    machine.shell("cat /srv/haraka/queue/* 2>/dev/null | tr -d '\\000' | grep -a '\"original\"' || true")
}

pub(super) fn version(machine: &Machine) -> String {
    let of = |package: &str| {
        machine.shell(&format!("sed -n 's/^ *\"version\": \"\\(.*\\)\",*$/\\1/p' /opt/npm/node_modules/{package}/package.json"))
    };
    format!("haraka {}, Node.js {}", of("haraka").trim(), of("node").trim())
}
