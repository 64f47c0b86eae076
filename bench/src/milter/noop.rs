//! A filter that is told all that the policy is told, and has nothing against any of it.

use std::error::Error;

use smtp_fallback_milter_codec::{Connection, ConnectionError, Reply, TimeLimits, Wishes};
use tokio::net::{UnixListener, UnixStream};

pub(crate) fn run(socket: &str) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = UnixListener::bind(socket)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(async {
                if let Err(error) = filter(stream).await {
                    eprintln!("no-op milter: {error}");
                }
            });
        }
    })
}

async fn filter(stream: UnixStream) -> Result<(), ConnectionError> {
    let Some(mut connection) = Connection::open(stream, &Wishes::POLICY, TimeLimits::default()).await? else { return Ok(()) };
    while connection.next().await?.is_some() {
        if connection.due().is_some() {
            connection.reply(&Reply::Continue).await?;
        }
    }
    Ok(())
}
