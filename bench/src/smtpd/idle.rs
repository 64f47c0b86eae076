//! Memory of connections that wait after EHLO.

use std::error::Error;
use std::time::Duration;

use tokio::task::JoinSet;

use super::options::Options;
use super::server::Server;
use crate::inside::client::Client;
use crate::inside::load::client;
use crate::inside::timely;

/// Connections that are made at a time.
const AT_A_TIME: usize = 64;
/// Networks that they come from.
const NETWORKS: usize = 16;
/// A server may still be busy with the last of them.
const PAUSE: Duration = Duration::from_millis(500);

/// What one server takes.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// In kB, before the first connection.
    pub(crate) alone: u64,
    /// For each number of connections, as far as the server goes: kB for each.
    pub(crate) each: Vec<Option<f64>>,
}

/// Measures all servers, one after the other. None has done anything before.
pub(crate) async fn measure(servers: &[Server], options: &Options) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows = Vec::new();
    for server in servers {
        let alone = server.memory()?;
        let (mut open, mut each) = (Vec::new(), Vec::new());
        for &count in &options.idle {
            each.push(match count <= server.connections {
                true => {
                    timely(fill(&mut open, count, server.idle_port)).await.map_err(|error| server.failed(error))?;
                    tokio::time::sleep(PAUSE).await;
                    Some(server.memory()?.saturating_sub(alone) as f64 / count as f64)
                }
                false => None,
            });
        }
        rows.push(Row { name: server.name, alone, each });
    }
    Ok(rows)
}

/// Opens more, until there are so many.
async fn fill(open: &mut Vec<Client>, count: usize, port: u16) -> Result<(), Box<dyn Error>> {
    let mut opening = JoinSet::new();
    for number in open.len()..count {
        if opening.len() == AT_A_TIME {
            open.extend(opened(&mut opening).await?);
        }
        opening.spawn(async move {
            let greeted = async {
                let mut client = Client::connect(client((number % NETWORKS) as u16), port).await?;
                client.expect("220").await?;
                client.command("EHLO client.example\r\n", "250").await?;
                Ok::<Client, Box<dyn Error>>(client)
            };
            greeted.await.map_err(|error| format!("connection {}: {error}", number + 1))
        });
    }
    while let Some(client) = opened(&mut opening).await? {
        open.push(client);
    }
    Ok(())
}

async fn opened(opening: &mut JoinSet<Result<Client, String>>) -> Result<Option<Client>, Box<dyn Error>> {
    Ok(opening.join_next().await.transpose()?.transpose()?)
}
