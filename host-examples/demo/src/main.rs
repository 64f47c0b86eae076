//! Runs smtpd with a demo zone and a demo policy: to try it by hand (`serve`), or to see the draft's dialogues (`play`).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use smtp_fallback_demo::dialogues::{self, Listeners};
use smtp_fallback_demo::server::{DEMO_POLICY, Launch, Server};
use smtp_fallback_demo::zone::{FAILING_DOMAIN, NameServer, PLAIN_DOMAIN, RECEIVING_DOMAIN, SPF_DOMAIN, Zone};
use tokio::signal::unix::{Signal, SignalKind, signal};

const HELP: &str = "\
smtp-fallback-demo: smtpd with a demo zone and a demo policy, on the loopback interface

Usage: smtp-fallback-demo serve --smtpd PATH --component PATH [--port PORT]
       smtp-fallback-demo play  --smtpd PATH --component PATH

serve   starts a name server and smtpd, prints commands to paste, and runs until Ctrl-C
play    starts the same on free ports, plays the draft's dialogues (appendix A), prints them, and exits with status 0
        if each reply was as it should be, else 1

  --smtpd PATH      the program smtp-fallback-smtpd
  --component PATH  the component smtp-fallback-policy.wasm
  --port PORT       for serve: the port on [::1] and 127.0.0.1, 2525 without it; 0 for a free one of each
";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("smtp-fallback-demo: {problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let done = match arguments.command {
        Command::Serve => serve(arguments).await,
        Command::Play => play(arguments).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("smtp-fallback-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

type Error = Box<dyn std::error::Error>;

async fn serve(arguments: Arguments) -> Result<(), Error> {
    let mut stop = Stop::new()?;
    let nameserver = NameServer::start(Zone::demo()).await?;
    let mut server = tokio::select! {
        server = Server::start(arguments.launch(&nameserver, true)) => server?,
        () = stop.wait() => return Ok(()),
    };
    println!("{}", instructions(&server));
    loop {
        tokio::select! {
            () = stop.wait() => break,
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                if server.has_ended() {
                    return Err("smtpd has ended by itself; its log above says why".into());
                }
            }
        }
    }
    println!("Stopping, when the sessions have ended or 30 s are over; Ctrl-C again stops at once. The Maildir goes too.");
    tokio::select! {
        stopped = server.stop() => stopped.map(drop).map_err(Error::from),
        () = stop.wait() => Ok(()),
    }
}

async fn play(arguments: Arguments) -> Result<(), Error> {
    let mut stop = Stop::new()?;
    tokio::select! {
        played = play_to_the_end(arguments) => played,
        () = stop.wait() => Err("stopped before the end".into()),
    }
}

async fn play_to_the_end(arguments: Arguments) -> Result<(), Error> {
    let nameserver = NameServer::start(Zone::demo()).await?;
    let server = Server::start(arguments.launch(&nameserver, false)).await?;
    let listeners = Listeners { ipv6: server.ipv6(), ipv4: server.ipv4() };
    let played = dialogues::play(listeners, |text| print!("{text}")).await;
    let delivered = server.delivered();
    let played = played.map_err(Error::from).and_then(|accepted| match accepted == delivered {
        true => Ok(()),
        false => Err(format!("{accepted} messages were accepted, and {delivered} are in the Maildir").into()),
    });
    match &played {
        Ok(()) => println!("Each reply was as it should be; the {delivered} accepted messages are in the Maildir."),
        Err(_) => eprintln!("The log of smtpd:\n{}\n", server.log().join("\n")),
    }
    server.stop().await?;
    played
}

/// Ctrl-C or SIGTERM. From its making on, neither ends this process by itself, which would leave smtpd behind.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Stop> {
        Ok(Stop { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What to paste, and where to look.
fn instructions(server: &Server) -> String {
    let (six, four) = (server.ipv6().port(), server.ipv4().port());
    let swaks = |family: &str, address: &str, port: u16, domain: &str| {
        format!("  swaks {family} --server {address} --port {port} --from smith@{domain} --to jones@{RECEIVING_DOMAIN}")
    };
    let nc = |address: &str, port: u16, domain: &str| {
        format!(
            "  for line in 'EHLO client.example' 'MAIL FROM:<smith@{domain}>' 'RCPT TO:<jones@{RECEIVING_DOMAIN}>' DATA \\\n    \
             'From: smith@{domain}\\r\\n\\r\\nHello.\\r\\n.' QUIT; do sleep 1; printf \"$line\\r\\n\"; done | nc {address} {port}"
        )
    };
    [
        "Demo zone, demo policy that does not exempt ::1. For trying out only.".to_owned(),
        format!("smtpd listens on {} and {}; it takes mail for {RECEIVING_DOMAIN}.", server.ipv6(), server.ipv4()),
        format!("\nAccepted over IPv6: {SPF_DOMAIN} names ::1 in its SPF record."),
        swaks("-6", "::1", six, SPF_DOMAIN),
        nc("::1", six, SPF_DOMAIN),
        format!("\nRefused with 421 4.4.8: {PLAIN_DOMAIN} has no SPF record (and {FAILING_DOMAIN} has one that fails)."),
        swaks("-6", "::1", six, PLAIN_DOMAIN),
        nc("::1", six, PLAIN_DOMAIN),
        "\nThe same mail arrives over IPv4.".to_owned(),
        swaks("-4", "127.0.0.1", four, PLAIN_DOMAIN),
        nc("127.0.0.1", four, PLAIN_DOMAIN),
        format!("\nAccepted mail is in {}; Ctrl-C ends the demo. The log follows.", server.maildir().display()),
    ]
    .join("\n")
}

struct Arguments {
    command: Command,
    smtpd: PathBuf,
    component: PathBuf,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Serve,
    Play,
}

impl Arguments {
    /// None where help is asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
        let command = match arguments.next().as_deref() {
            Some("serve") => Command::Serve,
            Some("play") => Command::Play,
            Some("help" | "--help" | "-h") => return Ok(None),
            Some(other) => return Err(format!("found {other:?}, expected serve or play")),
            None => return Err("expected serve or play".to_owned()),
        };
        let (mut smtpd, mut component, mut port) = (None, None, None);
        while let Some(name) = arguments.next() {
            if matches!(name.as_str(), "--help" | "-h") {
                return Ok(None);
            }
            let mut value = || arguments.next().ok_or(format!("expected a value after {name}"));
            match name.as_str() {
                "--smtpd" => smtpd = Some(PathBuf::from(value()?)),
                "--component" => component = Some(PathBuf::from(value()?)),
                "--port" if command == Command::Serve => {
                    let value = value()?;
                    port =
                        Some(value.parse().map_err(|_| format!("--port: found {value:?}, expected a number from 0 to 65535"))?);
                }
                _ => return Err(format!("found {name:?}, expected --smtpd, --component or, with serve, --port")),
            }
        }
        let missing = |name| format!("{name} is missing");
        let default_port = if command == Command::Serve { 2525 } else { 0 };
        Ok(Some(Arguments {
            command,
            smtpd: smtpd.ok_or_else(|| missing("--smtpd"))?,
            component: component.ok_or_else(|| missing("--component"))?,
            port: port.unwrap_or(default_port),
        }))
    }

    fn launch(self, nameserver: &NameServer, show_log: bool) -> Launch {
        let Arguments { smtpd, component, port, .. } = self;
        Launch { smtpd, component, policy: DEMO_POLICY.to_owned(), nameserver: nameserver.addr(), port, show_log }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<(Command, u16)>, String> {
        let arguments = Arguments::parse(line.split_whitespace().map(str::to_owned))?;
        Ok(arguments.map(|arguments| {
            assert_eq!((arguments.smtpd, arguments.component), ("s".into(), "c".into()));
            (arguments.command, arguments.port)
        }))
    }

    #[test]
    fn the_command_line() {
        assert_eq!(parse("serve --smtpd s --component c"), Ok(Some((Command::Serve, 2525))));
        assert_eq!(parse("serve --port 0 --component c --smtpd s"), Ok(Some((Command::Serve, 0))));
        assert_eq!(parse("play --smtpd s --component c"), Ok(Some((Command::Play, 0))));
        assert_eq!(parse("--help"), Ok(None));
        assert_eq!(parse("play --help"), Ok(None));
        for (line, problem) in [
            ("", "expected serve or play"),
            ("run", "found \"run\", expected serve or play"),
            ("play --smtpd s", "--component is missing"),
            ("play --component c", "--smtpd is missing"),
            ("play --smtpd", "expected a value after --smtpd"),
            ("play --port 1 --smtpd s --component c", "found \"--port\""),
            ("serve --port x", "--port: found \"x\", expected a number"),
            ("serve --port 65536", "--port: found \"65536\", expected a number"),
        ] {
            let found = parse(line).unwrap_err();
            assert!(found.starts_with(problem), "{line}: {found}");
        }
    }
}
