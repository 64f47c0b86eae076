//! A Postfix policy service: the module as a library behind the protocol of SMTPD_POLICY_README, asked over one connection that is kept. What it
//! shows is the price of the protocol and of another process; there is no Postfix in it.
//!
//! Postfix tells a policy service neither results of authentication nor what a session said of the extension, and takes one line of text
//! as its answer. So those are attributes of our own here, `x_…`, and of a reply only the first line arrives.

mod protocol;

use std::collections::HashMap;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use smtp_fallback_policy::Module;
use smtp_fallback_policy::contract::{Key, KeyKind, StoredRecord};

use crate::input::{Arguments, Call};
use crate::measure::Cases;
use crate::{Failed, verify};

/// How service and client are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Socket {
    Unix,
    Tcp,
}

/// The service: the module, with the records that it keeps.
struct Service {
    module: Module,
    records: HashMap<Key, Vec<u8>>,
}

impl Service {
    fn new(policy_json: &str, secret: &str, records: impl Iterator<Item = StoredRecord>) -> Result<Self, Failed> {
        let mut module = Module::new();
        module.configure(policy_json, secret.as_bytes()).map_err(|errors| format!("{errors:?}"))?;
        Ok(Service { module, records: records.map(|record| (record.key, record.value)).collect() })
    }

    /// The answer to a request, both as they go over the socket.
    fn answer(&self, request: &str) -> Result<String, Failed> {
        let Arguments { mut connection, envelope, message, auth_results } = protocol::read(request)?;
        // A mail that was refused before names the network that it came from.
        for _ in 0..2 {
            let keys = self.module.keys(&connection, envelope.as_ref(), message.as_ref());
            let stored = |key: &Key| self.records.get(key).map(|value| StoredRecord { key: *key, value: value.clone() });
            connection.records = keys.iter().filter_map(stored).collect();
            if !connection.records.iter().any(|record| matches!(record.key.kind, KeyKind::Exact | KeyKind::Inferred)) {
                break;
            }
        }
        let decision = self.module.decide(&connection, envelope.as_ref(), message.as_ref(), auth_results.as_ref());
        Ok(format!("action={}\n\n", protocol::action(&decision.verdict)))
    }
}

/// Whether it answers all calls of the vectors, as far as its protocol can say it.
pub(crate) fn verify(file: &str) -> Result<(), Failed> {
    let calls: Vec<Call> = verify::calls(file)?;
    let mut count = 0;
    for Call { file, policy_json, secret, arguments, decision } in &calls {
        let Some(policy_json) = policy_json else { continue };
        let service = Service::new(policy_json, secret, arguments.connection.records.iter().cloned())?;
        let found = service.answer(&protocol::request(arguments))?;
        let expected = format!("action={}\n\n", protocol::action(&decision.verdict));
        if found != expected {
            return Err(format!("{file}:\n  asked    {arguments:?}\n  found    {found:?}\n  expected {expected:?}").into());
        }
        count += 1;
    }
    println!("{count} of {} calls are answered as by the module, as far as one line can say it", calls.len());
    if count == 0 { Err("no call can be compared".into()) } else { Ok(()) }
}

/// Measures it: in a process of its own, one request after the other.
pub(crate) fn measure(socket: Socket, file: &str, count: u32) -> Result<(), Failed> {
    let cases = Cases::read(file)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("policy").display().to_string();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["service", if socket == Socket::Unix { path.as_str() } else { "tcp" }, file])
        // It ends when its input does: with this process.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let asked = ask_all(&mut child, socket, &path, &cases, count);
    drop(child.stdin.take());
    child.wait()?;
    asked
}

fn ask_all(child: &mut Child, socket: Socket, path: &str, cases: &Cases, count: u32) -> Result<(), Failed> {
    let mut ready = String::new();
    BufReader::new(child.stdout.take().ok_or("the service has an output")?).read_line(&mut ready)?;
    let port = ready.trim();
    let (mut writer, reader): (Box<dyn Write>, Box<dyn io::Read>) = match socket {
        Socket::Unix => {
            let stream = UnixStream::connect(path)?;
            (Box::new(stream.try_clone()?), Box::new(stream))
        }
        Socket::Tcp => {
            let stream = TcpStream::connect(("127.0.0.1", port.parse::<u16>()?))?;
            stream.set_nodelay(true)?;
            (Box::new(stream.try_clone()?), Box::new(stream))
        }
    };
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    cases.measure(
        count,
        |case| Ok(case.decide.clone()),
        |arguments| {
            // Postfix writes it anew for each message, too.
            writer.write_all(protocol::request(arguments).as_bytes())?;
            let mut refused = false;
            loop {
                line.clear();
                if reader.read_line(&mut line)? == 0 {
                    return Err("the service has ended".into());
                }
                match black_box(line.trim_end()).strip_prefix("action=") {
                    Some(action) => refused = action.starts_with('4'),
                    None if line == "\n" => return Ok(refused),
                    None => return Err(format!("the service answered {line:?}").into()),
                }
            }
        },
    )
}

/// The service's process: serves one client, at a socket in the file system or on 127.0.0.1.
pub(crate) fn serve(place: &str, file: &str) -> Result<(), Failed> {
    let cases = Cases::read(file)?;
    let records = cases.all().flat_map(|case| case.decide.connection.records.clone());
    let service = Service::new(&cases.policy_json, &cases.secret, records)?;
    if place == "tcp" {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        ready(&listener.local_addr()?.port().to_string())?;
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        service.serve(stream.try_clone()?, stream)
    } else {
        let listener = UnixListener::bind(place)?;
        ready("ready")?;
        let (stream, _) = listener.accept()?;
        service.serve(stream.try_clone()?, stream)
    }
}

/// Says so, and ends the process with the one that started it.
fn ready(word: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{word}")?;
    stdout.flush()?;
    std::thread::spawn(|| {
        let ended = io::stdin().lines().last().is_none();
        std::process::exit(i32::from(!ended));
    });
    Ok(())
}

impl Service {
    /// Answers until the client is gone.
    fn serve(&self, reader: impl io::Read, mut writer: impl Write) -> Result<(), Failed> {
        let mut reader = BufReader::new(reader);
        let mut request = String::new();
        loop {
            let before = request.len();
            if reader.read_line(&mut request)? == 0 {
                return Ok(());
            }
            if &request[before..] == "\n" {
                writer.write_all(self.answer(&request)?.as_bytes())?;
                request.clear();
            }
        }
    }
}
