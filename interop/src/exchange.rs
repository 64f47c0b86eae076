//! What stands for the world on a machine: its name server, and in front of the servers under test something that listens at all of the
//! machine's addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::SystemTime;

use smtp_fallback_demo::zone::{NameServer, Zone};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::Machine;

/// A server on the machine's 127.0.0.1 that believes a PROXY header of version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its port.
    pub port: u16,
    /// The verb is issued to it behind each EHLO, in the name of the client, who does not know of it: so this client gets 456, as one that does not
    /// take it for an answer to anything.
    pub verb: bool,
}

/// A connection that a client made.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When.
    pub at: SystemTime,
    /// To which address.
    pub to: IpAddr,
}

/// A name server on 127.0.0.1, and a listener on port 25 of every address of the machine. Each connection is handed octet by octet to the
/// server that has the address; one to an address that none has is closed at once. So many hosts need few servers, and it is known which of
/// the hosts a client tried, and when, even where it was refused before it could say anything.
///
/// All of it ends when this is dropped.
pub struct Exchange {
    /// The name server.
    pub nameserver: NameServer,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Exchange {
    /// Opens it, with these servers at these addresses.
    pub fn start(machine: &Machine, zone: Zone, hosts: BTreeMap<IpAddr, Host>) -> Exchange {
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let (sender, ready) = mpsc::channel();
        let seen = Arc::clone(&arrivals);
        let thread = machine.enter(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let nameserver = NameServer::start_on(zone, SocketAddr::from((Ipv4Addr::LOCALHOST, 53))).await.unwrap();
                // The IPv6 one takes IPv4 as well: Linux gives such a client an IPv4-mapped address.
                let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 25)).await.unwrap();
                sender.send(nameserver).unwrap();
                let hosts = Arc::new(hosts);
                tokio::select! {
                    () = accept(listener, hosts, seen) => {}
                    _ = stopped => {}
                }
            });
        });
        let nameserver = ready.recv().expect("name server and listener can be opened");
        Exchange { nameserver, arrivals, stop: Some(stop), thread: Some(thread) }
    }

    /// The connections so far.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap().clone()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, hosts: Arc<BTreeMap<IpAddr, Host>>, seen: Arc<Mutex<Vec<Arrival>>>) {
    loop {
        let Ok((stream, from)) = listener.accept().await else { continue };
        let Ok(to) = stream.local_addr() else { continue };
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        seen.lock().unwrap().push(Arrival { at: SystemTime::now(), to: to.ip() });
        if let Some(host) = hosts.get(&to.ip()).copied() {
            let from = SocketAddr::new(from.ip().to_canonical(), from.port());
            // Fails where one of the two has gone away, which both may.
            tokio::spawn(async move { hand_over(stream, from, to, host).await });
        }
    }
}

async fn hand_over(mut client: TcpStream, from: SocketAddr, to: SocketAddr, host: Host) -> io::Result<()> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, host.port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    let header = format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port());
    server.write_all(header.as_bytes()).await?;
    if !host.verb {
        tokio::io::copy_bidirectional(&mut client, &mut server).await?;
        return Ok(());
    }
    let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
    reply(&mut server, Some(&mut client)).await?;
    loop {
        let mut line = Vec::new();
        client.read_until(b'\n', &mut line).await?;
        server.write_all(&line).await?;
        if line.len() < 4 || !line[..4].eq_ignore_ascii_case(b"EHLO") {
            break;
        }
        let answer = reply(&mut server, None).await?;
        server.write_all(b"IPV6-IPV4-FALLBACK\r\n").await?;
        reply(&mut server, None).await?;
        client.write_all(&answer).await?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Reads a reply, and passes it on where somebody is to see it.
async fn reply(server: &mut BufReader<TcpStream>, client: Option<&mut BufReader<TcpStream>>) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    loop {
        let start = octets.len();
        if server.read_until(b'\n', &mut octets).await? == 0 || octets.get(start + 3) != Some(&b'-') {
            break;
        }
    }
    if let Some(client) = client {
        client.write_all(&octets).await?;
    }
    Ok(octets)
}
