//! Shows what an MTA says to a filter, and accepts everything; or refuses at a stage.
//!
//! ```text
//! observe unix:/run/observe.sock              # Postfix: smtpd_milters = unix:/run/observe.sock
//! observe inet:127.0.0.1:8899 eom             # with 456 at connect, helo, mail, data or eom
//! observe inet:127.0.0.1:8899 eom 421
//! ```

use std::process::ExitCode;

use smtp_fallback_milter_codec::{Connection, ConnectionError, Refusal, Reply, Stage, TimeLimits, Wishes};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().unwrap_or_default();
    let refuse_at = match arguments.next().as_deref() {
        None => None,
        Some("connect") => Some(Stage::Connect),
        Some("helo") => Some(Stage::Helo),
        Some("mail") => Some(Stage::Mail),
        Some("data") => Some(Stage::Data),
        Some("eom") => Some(Stage::EndOfMessage),
        Some(other) => {
            eprintln!("no such stage: {other}; expected connect, helo, mail, data or eom");
            return ExitCode::FAILURE;
        }
    };
    let code = arguments.next().map_or(Ok(456), |code| code.parse());
    let lines = ["SPF=none, DKIM=none: not accepted over IPv6, 100 % of it", "retry over IPv4 now"];
    let refusal = match code.map(|code| Refusal::new(code, "4.4.8", &lines)) {
        Ok(Ok(refusal)) => refusal,
        other => {
            eprintln!("{other:?}");
            return ExitCode::FAILURE;
        }
    };
    match listen(&socket, refuse_at.map(|stage| (stage, Reply::Refuse(refusal)))).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{socket}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn listen(socket: &str, refuse_at: Option<(Stage, Reply)>) -> std::io::Result<()> {
    if let Some(path) = socket.strip_prefix("unix:") {
        let listener = UnixListener::bind(path)?;
        loop {
            tokio::spawn(show(listener.accept().await?.0, refuse_at.clone()));
        }
    }
    let Some(address) = socket.strip_prefix("inet:") else {
        return Err(std::io::Error::other("expected unix:PATH or inet:ADDRESS:PORT"));
    };
    let listener = TcpListener::bind(address).await?;
    loop {
        tokio::spawn(show(listener.accept().await?.0, refuse_at.clone()));
    }
}

async fn show(stream: impl AsyncRead + AsyncWrite + Unpin, refuse_at: Option<(Stage, Reply)>) {
    match observe(stream, refuse_at).await {
        Ok(()) => println!("-- closed"),
        Err(error) => println!("-- {error}"),
    }
}

async fn observe(stream: impl AsyncRead + AsyncWrite + Unpin, refuse_at: Option<(Stage, Reply)>) -> Result<(), ConnectionError> {
    let Some(mut connection) = Connection::open(stream, &Wishes::POLICY, TimeLimits::default()).await? else { return Ok(()) };
    println!("{:?}", connection.agreement());
    let mut shown = std::collections::BTreeMap::new();
    while let Some(command) = connection.next().await? {
        println!("{command:?}");
        for name in Wishes::POLICY.macros.iter().flat_map(|(_, names)| *names) {
            let value = connection.macros().get(name).cloned();
            if shown.insert(name, value.clone()).flatten() != value {
                println!("    {name} = {value:?}");
            }
        }
        let Some(stage) = connection.due() else { continue };
        let reply = refuse_at.clone().filter(|(at, _)| *at == stage).map_or(Reply::Continue, |(_, reply)| reply);
        println!("  {reply:?}");
        connection.reply(&reply).await?;
    }
    Ok(())
}
