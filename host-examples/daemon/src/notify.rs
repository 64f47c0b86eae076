//! Tells the service manager how the server is (systemd's `sd_notify(3)`). Without `NOTIFY_SOCKET` in the environment nothing is sent.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// All listeners are open, or a reload has ended.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// The configuration is being read anew; [`ready`] must follow, whether that succeeds or not. systemd 253 and later need the time with
/// it (`MONOTONIC_USEC`), earlier versions do not mind it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        // Without the time the manager would wait for it, and end the service.
        Err(error) => failed(&error),
    }
}

/// No more connections are taken; the last sessions end.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// How often [`alive`] is to be called, if the service manager watches this process: half of `WatchdogSec`.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|time| time / 2).filter(|interval| !interval.is_zero())
}

/// The server still does its work.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        failed(&error);
    }
}

/// Mail goes on without the service manager.
fn failed(error: &io::Error) {
    tracing::warn!(event = "notify-failure", %error, "the service manager could not be told; see NOTIFY_SOCKET");
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::{Command, Output};

    use super::*;

    /// Set for the process that notifies: a test may not change its own environment while other threads run.
    const NOTIFIES: &str = "SMTPD_TEST_NOTIFIES";

    /// Not a test of its own: [`notify_in_child`] runs it in another process.
    #[test]
    #[ignore = "run by the other tests"]
    fn child() {
        if std::env::var_os(NOTIFIES).is_none() {
            return;
        }
        ready();
        reloading();
        alive();
        stopping();
        println!("interval: {:?}", watchdog());
    }

    fn notify_in_child(environment: &[(&str, &str)]) -> Output {
        let path = module_path!().split_once("::").expect("the crate's name is first").1;
        Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", &format!("{path}::child"), "--ignored", "--nocapture"])
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .env(NOTIFIES, "1")
            .envs(environment.iter().copied())
            .output()
            .expect("this test starts")
    }

    fn interval(output: &Output) -> String {
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().find_map(|line| line.split_once("interval: ")).expect("the child ran").1.into()
    }

    #[test]
    fn tells_the_service_manager() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let output = notify_in_child(&[("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))]);
        assert_eq!(interval(&output), "None");
        // The child has ended: all that it sent is there, and nothing more comes.
        manager.set_nonblocking(true).expect("a socket");
        let received = || {
            let mut buffer = [0; 200];
            manager.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        assert_eq!(received().expect("ready"), "READY=1\n");
        let reloading = received().expect("reloading");
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|time| time.strip_suffix('\n'));
        assert!(time.is_some_and(|time| time.parse::<u64>().is_ok_and(|time| time > 0)), "{reloading:?}");
        assert_eq!(received().expect("alive"), "WATCHDOG=1\n");
        assert_eq!(received().expect("stopping"), "STOPPING=1\n");
        assert_eq!(received().expect_err("no more").kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn without_a_service_manager_nothing_happens() {
        assert_eq!(interval(&notify_in_child(&[])), "None");
        // Nobody listens there: a warning, no end.
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("none");
        assert_eq!(interval(&notify_in_child(&[("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))])), "None");
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time() {
        assert_eq!(interval(&notify_in_child(&[("WATCHDOG_USEC", "30000000")])), "Some(15s)");
        assert_eq!(interval(&notify_in_child(&[("WATCHDOG_USEC", "0")])), "None");
        assert_eq!(interval(&notify_in_child(&[("WATCHDOG_USEC", "often")])), "None");
        // Meant for another process.
        assert_eq!(interval(&notify_in_child(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "1")])), "None");
    }
}
