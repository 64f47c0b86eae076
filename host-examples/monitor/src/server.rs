//! The HTTP server: for Prometheus, for supervisors, and for people.
//!
//! It is meant for a loopback address, and takes nothing from anyone: GET and HEAD only, no body, no cookies, one answer per connection.
//! A page that a browser loaded from elsewhere cannot read it under a name of its own (DNS rebinding), since the Host field has to name
//! this host.

mod guard;
mod limits;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::monitor::Monitor;
use crate::page;
use crate::time;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// A bound address that [`Listener::serve`] answers on.
#[derive(Debug)]
pub struct Listener {
    listener: std::net::TcpListener,
    address: SocketAddr,
    allow_remote: bool,
}

/// Why an address cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address can be reached from other machines.
    #[error(
        "{0} can be reached from other machines, which could read there who sends mail here; expected a loopback address such as 127.0.0.1 \
         or ::1, or the setting that allows others"
    )]
    NotLoopback(SocketAddr),
    /// The system refused.
    #[error("cannot listen on {address}: {error}; check that no other program does, and that this user may")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
}

impl Listener {
    /// Binds the address: before the process gives up its privileges. `allow_remote`: also one that other machines can reach. Then a
    /// firewall or a proxy must decide who may read; there is no password and no encryption.
    pub fn bind(address: SocketAddr, allow_remote: bool) -> Result<Listener, BindError> {
        if !allow_remote && !address.ip().to_canonical().is_loopback() {
            return Err(BindError::NotLoopback(address));
        }
        let bind = || {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        match bind() {
            Ok((listener, address)) => Ok(Listener { listener, address, allow_remote }),
            Err(error) => Err(BindError::Bind { address, error }),
        }
    }

    /// The address, with the port that the system chose where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers, and reads the records in the background, until the future is dropped. Needs a tokio runtime with I/O and time.
    ///
    /// It ends with an error only where the runtime cannot take the socket.
    pub async fn serve(self, monitor: Arc<Monitor>) -> io::Result<()> {
        let Listener { listener, allow_remote, .. } = self;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let listener = limits::Limited::new(listener, limits::CONNECTIONS, limits::CONNECTION_TIME);
        let guard = Arc::new(guard::Guard { allow_remote, name: monitor.name().to_owned() });
        let served = axum::serve(listener, router(Arc::clone(&monitor), guard));
        tokio::select! {
            done = served.into_future() => done,
            () = monitor.watch() => Ok(()),
        }
    }
}

fn router(monitor: Arc<Monitor>, guard: Arc<guard::Guard>) -> Router {
    Router::new()
        .route("/", get(status_page))
        .route("/status.json", get(status_json))
        .route("/status.css", get(|| async { asset("text/css; charset=utf-8", include_str!("../assets/status.css")) }))
        .route("/status.js", get(|| async { asset("text/javascript; charset=utf-8", include_str!("../assets/status.js")) }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .fallback(|| async { plain(StatusCode::NOT_FOUND, "Nothing is here: see /, /status.json, /metrics and /healthz.\n") })
        .with_state(monitor)
        .layer(middleware::from_fn_with_state(guard, pass_or_refuse))
}

/// Around all answers: refuses what is not asked properly, and adds the header fields that hold for all.
async fn pass_or_refuse(State(guard): State<Arc<guard::Guard>>, request: Request, next: middleware::Next) -> Response {
    let mut response = match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    guard::add_fields(response.headers_mut());
    response
}

async fn status_page(State(monitor): State<Arc<Monitor>>, uri: Uri) -> Response {
    match page::render(&monitor, time::now(), refresh(&uri)) {
        Ok(html) => ([(CONTENT_TYPE, HTML)], html).into_response(),
        Err(error) => {
            tracing::error!(event = "monitor-failure", %error, "the status page could not be written");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "The page could not be written; the log says why.\n")
        }
    }
}

/// The pause between two refreshes, in seconds: `refresh=` in the query, from 1 to 3600.
fn refresh(uri: &Uri) -> u64 {
    let asked = uri.query().and_then(|query| query.split('&').find_map(|part| part.strip_prefix("refresh=")));
    let asked = asked.and_then(|digits| digits.parse().ok()).filter(|seconds| (1..=3600).contains(seconds));
    asked.unwrap_or_else(|| Monitor::refresh_every().as_secs())
}

async fn status_json(State(monitor): State<Arc<Monitor>>) -> Response {
    match monitor.report() {
        Some(report) => ([(CONTENT_TYPE, JSON)], report.to_json()).into_response(),
        None => plain(StatusCode::SERVICE_UNAVAILABLE, "The records have not been read yet; ask again in a few seconds.\n"),
    }
}

async fn metrics(State(monitor): State<Arc<Monitor>>, fields: HeaderMap) -> Response {
    let accepted = fields.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let openmetrics = accepted.contains("application/openmetrics-text");
    let content_type = if openmetrics {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    match monitor.metrics().encode(openmetrics) {
        Ok(text) => ([(CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => {
            tracing::error!(event = "monitor-failure", %error, "the metrics could not be written");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be written; the log says why.\n")
        }
    }
}

/// 200 and "ok" as long as the host does its work, else 503; then a line for each problem.
async fn healthz(State(monitor): State<Arc<Monitor>>) -> Response {
    let problems = monitor.problems();
    let (status, mut body) = match problems.iter().any(|problem| problem.is_failure) {
        false => (StatusCode::OK, "ok\n".to_owned()),
        true => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
    };
    for problem in &problems {
        body.push_str(&format!("{}: {}\n", problem.with, crate::visible(&on_one_line(&problem.text))));
    }
    plain(status, body)
}

/// "policy.json: line 1: …; line 2: …".
fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        match line.chars().last() {
            None => {}
            Some(':') => line.push(' '),
            Some(_) => line.push_str("; "),
        }
        line.push_str(part);
    }
    line
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, content_type)], text).into_response()
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    (status, [(CONTENT_TYPE, TEXT)], text.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_address_is_served_unless_others_are_allowed() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[2001:db8::1]:0", "[::ffff:192.0.2.1]:0"] {
            let error = Listener::bind(address.parse().expect("an address"), false).expect_err("refused");
            assert!(matches!(error, BindError::NotLoopback(_)), "{address}: {error}");
        }
        for address in ["127.0.0.1:0", "127.1.2.3:0"] {
            let listener = Listener::bind(address.parse().expect("an address"), false).expect("bound");
            let taken = Listener::bind(listener.address(), false).expect_err("taken");
            assert!(taken.to_string().contains("check that no other program does"), "{taken}");
        }
        assert!(Listener::bind("0.0.0.0:0".parse().expect("an address"), true).is_ok());
    }

    #[test]
    fn the_query_can_set_the_refresh() {
        for (uri, expected) in [
            ("/", 15),
            ("/?refresh=1", 1),
            ("/?a=b&refresh=3600", 3600),
            ("/?refresh=0", 15),
            ("/?refresh=3601", 15),
            ("/?refresh=x", 15),
        ] {
            assert_eq!(refresh(&uri.parse().expect("a URI")), expected, "{uri}");
        }
    }
}
