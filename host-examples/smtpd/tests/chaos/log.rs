//! Whoever reads the log is gone.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{ChildStderr, Stdio};

use crate::mail::{Attempt, Route};
use crate::server::{Folder, Setting, listening_address, nowhere};

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_on_when_nobody_reads_the_log() {
    for format in ["text", "json"] {
        let mut setting = Setting { policy: r#"{"mode": "observe"}"#, ..Setting::default() };
        setting.top.push_str(&format!("\nlog_format = \"{format}\""));
        let folder = Folder::new(&setting, nowhere());
        let mut child = folder.command().stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let [_, ipv4] = [listening(&mut log), listening(&mut log)];
        // From here on the server cannot write a line: EPIPE.
        drop(log);
        let mut replies = Vec::new();
        for number in 0..4 {
            replies.push(Route::to(ipv4).send("smith@spf.example", &Attempt::first(number).message(300)).await);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for reply in replies {
            let reply = reply.expect("the log has ended a session");
            assert_eq!(reply.code, 250, "{format}: {reply}");
        }
        assert_eq!(std::fs::read_dir(folder.path().join("mail/new")).unwrap().count(), 4);
    }
}

/// The address in the next line about a listener.
fn listening(log: &mut BufReader<ChildStderr>) -> SocketAddr {
    log.lines().map(Result::unwrap).find_map(|line| listening_address(&line)).expect("it ended without listening")
}
