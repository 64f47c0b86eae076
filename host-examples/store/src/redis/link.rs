//! The connection, and what is asked over it. No time limits here: whoever asks sets them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster::{ClusterClient, ClusterClientBuilder};
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo, SingleNodeRoutingInfo};
use ::redis::{AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisResult, ServerErrorKind, Value};
use tokio::task::JoinSet;

use super::breaker::Trouble;
use super::script::{self, Swapped};
use super::settings::{Checked, RedisError, is_tls};
use crate::MAX_VALUE_OCTETS;

/// How long connecting may take, to each node.
const CONNECT: Duration = Duration::from_secs(1);

/// How often a command follows the keys of a cluster when they move.
const REDIRECTS: u32 = 4;

/// The slots of a cluster (its specification).
const SLOTS: i64 = 16384;

/// Commands on their way that one connection takes before callers wait.
const PIPELINE: usize = 1024;

/// Makes connections.
pub(super) enum Client {
    One(Box<::redis::Client>),
    Cluster(Box<ClusterClient>),
}

/// A connection to the server, or to the nodes of a cluster. Clones share it.
#[derive(Clone)]
pub(super) enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What is under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// A value, and how long it lives; without a time it lives on.
    Value(Vec<u8>, Option<Duration>),
    /// Nothing that a host writes: another type, or a value that is too long.
    Foreign(&'static str),
}

/// A part of the names of keys on the server.
pub(super) struct NamePage {
    pub(super) names: Vec<Vec<u8>>,
    /// Where to go on.
    pub(super) next: Option<Place>,
}

/// Where a scan has come to: the cursor of a node, and the address of the node, of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) cursor: u64,
    pub(super) node: String,
}

impl Client {
    pub(super) fn new(settings: &Checked) -> Result<Client, RedisError> {
        if settings.servers.iter().any(is_tls) {
            // The library takes the process's provider. A host that has chosen another one keeps it.
            let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        }
        let wrong = |error: ::redis::RedisError| RedisError::Setting { setting: "servers", problem: error.to_string() };
        if settings.cluster {
            let mut builder = ClusterClientBuilder::new(settings.servers.iter().cloned())
                // Sent twice, a write could be counted twice: of a command whose answer was lost, nobody knows whether it was
                // executed. The redirects, which the library counts as retries, are followed here.
                .retries(0)
                .connection_timeout(CONNECT)
                .response_timeout(CONNECT);
            if let Some(tls) = &settings.tls {
                builder = builder.certs(tls.clone());
            }
            return Ok(Client::Cluster(Box::new(builder.build().map_err(wrong)?)));
        }
        let server = settings.servers.first().cloned();
        let server = server.ok_or_else(|| RedisError::Setting { setting: "servers", problem: "found none".to_owned() })?;
        let client = match &settings.tls {
            Some(tls) => ::redis::Client::build_with_tls(server, tls.clone()),
            None => ::redis::Client::open(server),
        };
        Ok(Client::One(Box::new(client.map_err(wrong)?)))
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Link, Trouble> {
        let link = match self {
            Client::One(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT))
                    .set_response_timeout(None)
                    .set_pipeline_buffer_size(PIPELINE);
                client.get_multiplexed_async_connection_with_config(&config).await.map(Link::One)
            }
            Client::Cluster(client) => client.get_async_connection().await.map(Link::Cluster),
        };
        link.map_err(|error| Trouble::Lost(error.to_string()))
    }
}

impl Link {
    /// Whether the server answers; of a cluster, every node that takes writes.
    pub(super) async fn ping(&self) -> Result<(), Trouble> {
        match self {
            Link::One(connection) => {
                let answer = Cmd::new().arg("PING").query_async::<Value>(&mut connection.clone()).await;
                answer.map(|_| ()).map_err(trouble)
            }
            Link::Cluster(connection) => masters(connection).await.map(|_| ()),
        }
    }

    /// What is under each of these keys, in their order. No value is read further than a host would write it.
    pub(super) async fn read(&self, names: Vec<String>) -> Result<Vec<Found>, Trouble> {
        let Link::Cluster(connection) = self else {
            let mut pipeline = Pipeline::with_capacity(2 * names.len());
            names.iter().for_each(|name| add_read(&mut pipeline, name));
            return founds(self.send(&pipeline).await.map_err(trouble)?);
        };
        // Each key may be on another node.
        let mut reads = JoinSet::new();
        for (index, name) in names.iter().enumerate() {
            let (connection, name) = (connection.clone(), name.clone());
            reads.spawn(async move {
                let mut pipeline = Pipeline::with_capacity(2);
                add_read(&mut pipeline, &name);
                (index, redirected(connection, &pipeline).await)
            });
        }
        let mut all = vec![Found::Nothing; names.len()];
        while let Some(read) = reads.join_next().await {
            let (index, answers) = read.map_err(|error| Trouble::Lost(error.to_string()))?;
            if let (Some(place), Some(found)) = (all.get_mut(index), founds(answers.map_err(trouble)?)?.pop()) {
                *place = found;
            }
        }
        Ok(all)
    }

    /// One step on the server: see [`script`].
    pub(super) async fn swap(
        &self,
        name: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        expires_in: u32,
    ) -> Result<Swapped, Trouble> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(script::by_hash(name, expected, value, expires_in));
        let mut answer = self.send_one(&pipeline).await;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            // The server was started anew, or never saw it: nothing was done. This also makes the server remember it.
            pipeline.clear();
            pipeline.add_command(script::in_full(name, expected, value, expires_in));
            answer = self.send_one(&pipeline).await;
        }
        match answer.map_err(trouble)? {
            Value::Int(1) => Ok(Swapped::Stored),
            Value::Int(0) => Ok(Swapped::Conflict),
            other => Err(Trouble::Refused(format!("the script answered {other:?}, expected 0 or 1"))),
        }
    }

    /// Writes the value if there is none, and returns what is there then; also where writing is refused, since the server is full.
    pub(super) async fn keep_first(&self, name: &str, value: &str) -> Result<Found, Trouble> {
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.cmd("SET").arg(name).arg(value).arg("NX");
        add_read(&mut pipeline, name);
        let mut answers = self.send(&pipeline).await.map_err(trouble)?;
        let set = answers.drain(..answers.len().min(1)).next();
        let found = founds(answers).map(|mut found| found.pop().unwrap_or(Found::Nothing));
        match (set, found) {
            (Some(Value::ServerError(error)), Err(_) | Ok(Found::Nothing)) => Err(trouble(error.into())),
            (_, found) => found,
        }
    }

    /// By which policy the server removes records when it is full; absent if it does not.
    pub(super) async fn eviction_policy(&self) -> Result<Option<String>, Trouble> {
        let mut ask = Cmd::new();
        ask.arg("CONFIG").arg("GET").arg("maxmemory*");
        let answer = match self {
            Link::One(connection) => ask.query_async::<Value>(&mut connection.clone()).await,
            Link::Cluster(connection) => {
                let anywhere = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
                connection.clone().route_command(ask, anywhere).await.and_then(Value::extract_error)
            }
        };
        let settings = ::redis::from_redis_value::<HashMap<String, String>>(answer.map_err(trouble)?);
        let mut settings = settings.map_err(|error| trouble(error.into()))?;
        let limited = settings.get("maxmemory").is_some_and(|limit| limit != "0");
        Ok(settings.remove("maxmemory-policy").filter(|policy| limited && policy != "noeviction"))
    }

    /// Some names that match the pattern; about `count` keys are looked at.
    pub(super) async fn names(&self, pattern: &str, place: Place, count: usize) -> Result<NamePage, Trouble> {
        let scan = |cursor: u64| {
            let mut scan = Cmd::new();
            scan.arg("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(count);
            scan
        };
        match self {
            Link::One(connection) => {
                let (cursor, names) =
                    scan(place.cursor).query_async::<(u64, Vec<Vec<u8>>)>(&mut connection.clone()).await.map_err(trouble)?;
                Ok(NamePage { names, next: (cursor != 0).then_some(Place { cursor, node: String::new() }) })
            }
            Link::Cluster(connection) => {
                let nodes = masters(connection).await?;
                // A node that has left the cluster has given its keys to others: the scan goes on behind it.
                let Some(node) = nodes.range(place.node.clone()..).next() else {
                    return Ok(NamePage { names: Vec::new(), next: None });
                };
                let scan = scan(if *node == place.node { place.cursor } else { 0 });
                let answer = connection.clone().route_command(scan, RoutingInfo::SingleNode(by_address(node)?)).await;
                let answer = answer.and_then(Value::extract_error).map_err(trouble)?;
                let (cursor, names) =
                    ::redis::from_redis_value::<(u64, Vec<Vec<u8>>)>(answer).map_err(|error| trouble(error.into()))?;
                let next = if cursor != 0 {
                    Some(Place { cursor, node: node.clone() })
                } else {
                    // What sorts right behind this node: the next one, when it is asked for.
                    nodes.range(format!("{node}\0")..).next().map(|node| Place { cursor: 0, node: node.clone() })
                };
                Ok(NamePage { names, next })
            }
        }
    }

    /// A pipeline of one command.
    async fn send_one(&self, pipeline: &Pipeline) -> RedisResult<Value> {
        let answer = self.send(pipeline).await?.pop().unwrap_or(Value::Nil);
        answer.extract_error()
    }

    /// Commands about one key, or on one server. Refusals are among the answers.
    async fn send(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        match self {
            Link::One(connection) => connection.clone().req_packed_commands(pipeline, 0, pipeline.len()).await,
            Link::Cluster(connection) => redirected(connection.clone(), pipeline).await,
        }
    }
}

/// Sends commands about one key to the node that has it, wherever it moves. What a node redirects it has not executed; the commands
/// before it in the pipeline may be executed twice, so a write that must not is alone in its pipeline.
async fn redirected(mut connection: ClusterConnection, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
    let mut answer = connection.req_packed_commands(pipeline, 0, pipeline.len()).await;
    for _ in 0..REDIRECTS {
        let error = match &answer {
            Ok(_) => break,
            Err(error) => error,
        };
        answer = match error.kind() {
            // The library has begun to ask for the new places; this waits for them.
            ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::ReadOnly) => {
                connection.req_packed_commands(pipeline, 0, pipeline.len()).await
            }
            ErrorKind::Server(ServerErrorKind::TryAgain) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                connection.req_packed_commands(pipeline, 0, pipeline.len()).await
            }
            ErrorKind::Server(ServerErrorKind::Ask) => {
                let Some(Ok(node)) = error.redirect_node().map(|(node, _)| by_address(node)) else { break };
                // Being asked once counts for one command.
                let mut asking = Pipeline::with_capacity(2 * pipeline.len());
                for command in pipeline.cmd_iter() {
                    asking.cmd("ASKING").add_command(command.clone());
                }
                let answers = connection.route_pipeline(asking, 0, 2 * pipeline.len(), node).await;
                answers.map(|answers| answers.into_iter().skip(1).step_by(2).collect())
            }
            _ => break,
        };
    }
    answer
}

/// The addresses of all nodes that take writes, in order; all of them have answered, and all keys have one.
async fn masters(connection: &ClusterConnection) -> Result<BTreeSet<String>, Trouble> {
    let mut slots = Cmd::new();
    slots.arg("CLUSTER").arg("SLOTS");
    let anywhere = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
    let slots = connection.clone().route_command(slots, anywhere).await.and_then(Value::extract_error).map_err(trouble)?;
    let (owners, covered) = owners(&slots);
    if covered < SLOTS {
        return Err(Trouble::Lost(format!("the cluster has nodes for {covered} of {SLOTS} slots only")));
    }
    let mut ping = Cmd::new();
    ping.arg("PING");
    let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::Special)));
    let answer = connection.clone().route_command(ping, everywhere).await.map_err(trouble)?;
    let Value::Map(answers) = answer else {
        return Err(Trouble::Refused(format!("the nodes answered {answer:?} to PING")));
    };
    let mut nodes = BTreeSet::new();
    for (node, answer) in answers {
        answer.extract_error().map_err(trouble)?;
        if let Value::BulkString(node) = node {
            nodes.insert(String::from_utf8_lossy(&node).into_owned());
        }
    }
    // The library asks those that it has a connection to.
    if nodes.len() < owners {
        return Err(Trouble::Lost(format!("{} of the cluster's {owners} nodes that take writes can be reached", nodes.len())));
    }
    Ok(nodes)
}

/// Of an answer to CLUSTER SLOTS: how many nodes take writes, and how many slots they have.
fn owners(slots: &Value) -> (usize, i64) {
    let Value::Array(ranges) = slots else { return (0, 0) };
    let mut owners = BTreeSet::new();
    let mut covered = 0;
    for range in ranges {
        let Value::Array(range) = range else { continue };
        // First and last slot, then the node that takes writes, then its replicas.
        let [Value::Int(first), Value::Int(last), Value::Array(owner), ..] = range.as_slice() else { continue };
        let [host, Value::Int(port), ..] = owner.as_slice() else { continue };
        owners.insert((format!("{host:?}"), *port));
        covered += last - first + 1;
    }
    (owners.len(), covered)
}

fn by_address(node: &str) -> Result<SingleNodeRoutingInfo, Trouble> {
    let parts = node.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) =
        parts.ok_or_else(|| Trouble::Refused(format!("the cluster names the node {node:?}, expected HOST:PORT")))?;
    // As the library keeps it.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port })
}

/// One octet more than a host would write shows that it was none of them. The first answer tells an expired key, too.
fn add_read(pipeline: &mut Pipeline, name: &str) {
    pipeline.cmd("GETRANGE").arg(name).arg(0).arg(MAX_VALUE_OCTETS);
    pipeline.cmd("PTTL").arg(name);
}

/// Reads the answers to [`add_read`].
fn founds(answers: Vec<Value>) -> Result<Vec<Found>, Trouble> {
    let mut founds = Vec::with_capacity(answers.len() / 2);
    let mut answers = answers.into_iter();
    while let (Some(value), Some(left)) = (answers.next(), answers.next()) {
        let left = match left {
            Value::Int(-1) => None,
            Value::Int(milliseconds @ 0..) => Some(Duration::from_millis(milliseconds.unsigned_abs())),
            Value::ServerError(error) => return Err(trouble(error.into())),
            // -2: it has just expired.
            _ => {
                founds.push(Found::Nothing);
                continue;
            }
        };
        founds.push(match value {
            Value::BulkString(value) if value.is_empty() => Found::Nothing,
            Value::BulkString(value) if value.len() > MAX_VALUE_OCTETS => Found::Foreign("a value that is too long"),
            Value::BulkString(value) => Found::Value(value, left),
            Value::ServerError(error) if error.code() == "WRONGTYPE" => Found::Foreign("a value of another type"),
            Value::ServerError(error) => return Err(trouble(error.into())),
            _ => Found::Nothing,
        });
    }
    Ok(founds)
}

fn trouble(error: ::redis::RedisError) -> Trouble {
    if error.is_timeout() {
        return Trouble::TimedOut;
    }
    match error.kind() {
        ErrorKind::Server(_) | ErrorKind::Extension => Trouble::Refused(error.to_string()),
        _ => Trouble::Lost(error.to_string()),
    }
}
