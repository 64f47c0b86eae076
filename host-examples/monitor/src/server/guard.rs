//! What a request must be, and what every answer says.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, TRANSFER_ENCODING,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;

/// Knows under which names this host may be asked.
pub(super) struct Guard {
    pub(super) allow_remote: bool,
    /// The host's own name.
    pub(super) name: String,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Neither GET nor HEAD.
    Method,
    /// It has a body.
    Body,
    /// It has no Host field, or more than one, or one that cannot be read.
    NoHost,
    /// It is for another host: a name of someone else leads here.
    OtherHost,
}

impl Guard {
    pub(super) fn check(&self, request: &Request) -> Result<(), Refusal> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return Err(Refusal::Method);
        }
        let fields = request.headers();
        let has_length = fields.get_all(CONTENT_LENGTH).iter().any(|length| length != "0");
        if has_length || fields.contains_key(TRANSFER_ENCODING) {
            return Err(Refusal::Body);
        }
        let mut hosts = fields.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Refusal::NoHost) };
        let host: Authority = host.as_bytes().try_into().map_err(|_| Refusal::NoHost)?;
        // An absolute request target counts instead of the Host field (RFC 9112 §3.2.2): both have to be right.
        let target = request.uri().authority();
        if self.is_this_host(&host) && target.is_none_or(|target| self.is_this_host(target)) {
            Ok(())
        } else {
            Err(Refusal::OtherHost)
        }
    }

    /// An address is nobody's name, so it cannot be made to lead here: any will do where others may ask, else only those of this machine.
    fn is_this_host(&self, authority: &Authority) -> bool {
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(ip) => self.allow_remote || ip.to_canonical().is_loopback(),
            Err(_) => {
                let name = host.strip_suffix('.').unwrap_or(host);
                name.eq_ignore_ascii_case("localhost") || self.allow_remote && name.eq_ignore_ascii_case(&self.name)
            }
        }
    }
}

impl Refusal {
    pub(super) fn into_response(self) -> Response {
        let (status, text) = match self {
            Refusal::Method => {
                (StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are understood: nothing can be changed here.\n")
            }
            Refusal::Body => (StatusCode::BAD_REQUEST, "A request has no body here.\n"),
            Refusal::NoHost => (StatusCode::BAD_REQUEST, "Expected one Host field.\n"),
            Refusal::OtherHost => (
                StatusCode::MISDIRECTED_REQUEST,
                "The Host field names another host. Ask by the address of this one, or as localhost.\n",
            ),
        };
        let mut response = super::plain(status, text);
        if self == Refusal::Method {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

/// The fields of every answer.
pub(super) fn add_fields(fields: &mut HeaderMap) {
    const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                          frame-ancestors 'none'";
    let all = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        // One answer per connection: an idle one would hold its place.
        (CONNECTION, "close"),
    ];
    for (name, value) in all {
        fields.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn request(method: &str, fields: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).expect("a request")
    }

    fn check(allow_remote: bool, host: &str) -> Result<(), Refusal> {
        Guard { allow_remote, name: "mx1.example.org".into() }.check(&request("GET", &[("host", host)]))
    }

    #[test]
    fn on_loopback_the_host_is_a_loopback_name_or_address() {
        for host in
            ["localhost", "localhost:9109", "LOCALHOST.", "127.0.0.1:9109", "127.9.9.9", "[::1]:9109", "[::ffff:127.0.0.1]"]
        {
            assert_eq!(check(false, host), Ok(()), "{host}");
        }
        for host in [
            "attacker.example",
            "localhost.attacker.example",
            "192.0.2.1",
            "[2001:db8::1]:9109",
            "mx1.example.org",
            "127.0.0.1.example",
        ] {
            assert_eq!(check(false, host), Err(Refusal::OtherHost), "{host}");
        }
        for host in ["", "a b", "[::1"] {
            assert_eq!(check(false, host), Err(Refusal::NoHost), "{host:?}");
        }
    }

    #[test]
    fn where_others_may_ask_it_is_any_address_or_the_host_s_own_name() {
        for host in ["localhost", "192.0.2.1:9109", "[2001:db8::1]", "mx1.example.org", "MX1.example.org.:9109"] {
            assert_eq!(check(true, host), Ok(()), "{host}");
        }
        for host in ["attacker.example", "example.org", "mx1.example.org.attacker.example"] {
            assert_eq!(check(true, host), Err(Refusal::OtherHost), "{host}");
        }
    }

    #[test]
    fn only_requests_that_read() {
        let guard = Guard { allow_remote: false, name: String::new() };
        let check = |method, fields: &[_]| guard.check(&request(method, fields));
        let host = ("host", "localhost");
        assert_eq!(check("HEAD", &[host]), Ok(()));
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"] {
            assert_eq!(check(method, &[host]), Err(Refusal::Method), "{method}");
        }
        assert_eq!(check("GET", &[]), Err(Refusal::NoHost));
        assert_eq!(check("GET", &[host, host]), Err(Refusal::NoHost));
        assert_eq!(check("GET", &[host, ("content-length", "0")]), Ok(()));
        assert_eq!(check("GET", &[host, ("content-length", "1")]), Err(Refusal::Body));
        assert_eq!(check("GET", &[host, ("transfer-encoding", "chunked")]), Err(Refusal::Body));
        let absolute =
            Request::builder().uri("http://attacker.example/").header("host", "localhost").body(Body::empty()).expect("one");
        assert_eq!(guard.check(&absolute), Err(Refusal::OtherHost));
    }
}
