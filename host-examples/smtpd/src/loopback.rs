//! Notices that every client seems to be this host: most likely a proxy in front does not tell who they are (R11).
//!
//! Nothing would fail then, which is why it takes a warning: local clients are exempt by default, so that all mail would be accepted.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many connections are judged.
const FIRST: u32 = 100;

/// Warns once, when the first 100 connections all come from loopback addresses.
#[derive(Debug, Default)]
pub struct LoopbackWatch {
    /// Connections from loopback addresses so far; [`FIRST`] when there is nothing more to find out.
    local: AtomicU32,
}

impl LoopbackWatch {
    /// To be told of each client: the one that a proxy named, or else the peer. Not of a proxy's own connections: its health checks
    /// come from this host where the proxy does.
    pub fn saw(&self, client: IpAddr) {
        if self.completes(client) {
            tracing::warn!(
                event = "all-clients-are-local",
                "the first {FIRST} clients all came from loopback addresses: most likely a proxy in front hides theirs, and all mail is \
                 exempt as local; let the proxy send the PROXY protocol, and name its address in `proxy_from` of the listener"
            );
        }
    }

    /// Whether this is the last of the first connections, and all were local.
    fn completes(&self, client: IpAddr) -> bool {
        let local = client.to_canonical().is_loopback();
        // Once it is settled, nothing is written any more.
        let next = |count| (count < FIRST).then_some(if local { count + 1 } else { FIRST });
        let before = self.local.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        local && before == Ok(FIRST - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged when these clients come, one after the other.
    fn log(clients: impl IntoIterator<Item = &'static str>) -> Vec<String> {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let watch = LoopbackWatch::default();
            for client in clients {
                watch.saw(client.parse().expect(client));
            }
        });
        let octets = log.0.lock().expect("no panic").clone();
        String::from_utf8(octets).expect("UTF-8").lines().map(String::from).collect()
    }

    const LOCAL: [&str; 5] = ["::1", "127.0.0.1", "::ffff:127.0.0.1", "127.255.255.255", "::1"];

    fn local(count: usize) -> impl Iterator<Item = &'static str> {
        LOCAL.into_iter().cycle().take(count)
    }

    #[test]
    fn warns_once_when_the_first_hundred_are_local() {
        assert_eq!(log(local(99)), Vec::<String>::new());
        for count in [100, 101, 1000] {
            let lines = log(local(count));
            assert_eq!(lines.len(), 1, "{lines:?}");
            let line = &lines[0];
            assert!(
                line.contains("WARN") && line.contains("event=\"all-clients-are-local\"") && line.contains("`proxy_from`"),
                "{line}"
            );
        }
    }

    #[test]
    fn one_other_client_settles_it() {
        for other in ["192.0.2.1", "2001:db8::1", "::", "10.0.0.1", "fe80::1", "128.0.0.1"] {
            for at in [0, 1, 99] {
                let clients = local(at).chain([other]).chain(local(500));
                assert_eq!(log(clients), Vec::<String>::new(), "{other} after {at}");
            }
        }
        assert_eq!(log(local(100).chain(["192.0.2.1"]).chain(local(200))).len(), 1);
    }

    #[test]
    fn one_of_many_threads_warns() {
        let watch = LoopbackWatch::default();
        let warnings = std::thread::scope(|scope| {
            let count = || (0..1000).filter(|_| watch.completes(IpAddr::from([127, 0, 0, 1]))).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<usize>()
        });
        assert_eq!(warnings, 1);
    }
}
