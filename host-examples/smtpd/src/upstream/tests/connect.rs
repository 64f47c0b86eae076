//! From the connection to the last EHLO.

use super::*;

async fn connected(settings: &Settings, client: &Client<'_>, script: &str) -> Vec<Result<Upstream, Error>> {
    let mut results = Vec::new();
    for transport in TRANSPORTS {
        let (ours, theirs) = pair(transport).await;
        let peer = Peer::new(theirs, script);
        results.push(timeout(PATIENCE, Upstream::over(ours, settings, client)).await.expect("in time"));
        peer.rest().await;
    }
    results
}

async fn upstreams(settings: &Settings, client: &Client<'_>, script: &str) -> Vec<Upstream> {
    connected(settings, client, script).await.into_iter().map(|result| result.unwrap_or_else(|error| panic!("{error}"))).collect()
}

async fn errors(settings: &Settings, script: &str) -> Vec<Error> {
    connected(settings, &client(), script).await.into_iter().map(|result| result.err().expect("an error")).collect()
}

#[tokio::test]
async fn says_ehlo_in_its_own_name_when_nothing_is_told() {
    for upstream in upstreams(&settings(Tell::Nothing), &Client { extended: false, ..client() }, PLAIN).await {
        assert!(upstream.offers().eight_bit_mime);
        assert_eq!(upstream.offers().size, Some(Some(1000)));
    }
}

#[tokio::test]
async fn falls_back_to_helo_which_offers_nothing() {
    let script = "S 220-mx\\r\\n220 mx
        C EHLO front.example
        S 502 what?
        C HELO front.example
        S 250-mx
        S 250 8BITMIME";
    for upstream in upstreams(&settings(Tell::Nothing), &client(), script).await {
        assert_eq!(upstream.offers(), &Offers::default());
    }
}

#[tokio::test]
async fn a_refusal_is_passed_on() {
    for (script, expected) in [
        ("S 554 5.7.1 not you", reply(554, "5.7.1 not you")),
        ("S 421 4.3.2 later", reply(421, "4.3.2 later")),
        ("S 354 what?", reply(354, "what?")),
        ("S 220 mx\nC EHLO front.example\nS 450 4.7.0 later", reply(450, "4.7.0 later")),
        ("S 220 mx\nC EHLO front.example\nS 421 4.7.0 later", reply(421, "4.7.0 later")),
        ("S 220 mx\nC EHLO front.example\nS 500 ?\nC HELO front.example\nS 550 5.7.1 never", reply(550, "5.7.1 never")),
    ] {
        for error in errors(&settings(Tell::Nothing), script).await {
            assert!(matches!(&error, Error::Refused(reply) if *reply == expected), "{script}: {error}");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_goes_away_is_noticed() {
    for (script, at) in [("", at::GREETING), ("S 22\\c", at::GREETING), ("S 220 mx\nC EHLO front.example\nS 250-mx", at::HELLO)] {
        for error in errors(&settings(Tell::Nothing), script).await {
            assert!(matches!(error, Error::Closed(place) if place == at), "{script}: {error}");
        }
    }
}

#[tokio::test]
async fn what_is_no_greeting_is_no_greeting() {
    for script in ["S SSH-2.0-x", "S 220 a\\n\\c", "S 120 wait", "S 220 mx\nC EHLO front.example\nS 250 a\\tb\\r"] {
        for error in errors(&settings(Tell::Nothing), script).await {
            assert!(matches!(error, Error::Broken { .. }), "{script}: {error}");
        }
    }
    for script in ["S 220 mx\\r\\n220 mx\nW", "S 220 mx\nC EHLO front.example\nS 250 a\\r\\n250 b\nW"] {
        // In memory there is room for a part of the first reply only: the second is found by the next command.
        for transport in [Transport::Tcp, Transport::Unix] {
            let (ours, theirs) = pair(transport).await;
            let peer = Peer::new(theirs, script);
            let result = Upstream::over(ours, &settings(Tell::Nothing), &client()).await;
            assert!(matches!(result, Err(Error::Broken { fault: "more than one reply", .. })), "{script}");
            peer.rest().await;
        }
    }
}

#[tokio::test]
async fn a_silent_upstream_is_given_up() {
    let mut settings = settings(Tell::Nothing);
    settings.timeouts.greeting = SHORT;
    settings.timeouts.command = SHORT;
    for (script, at) in [("W", at::GREETING), ("S 22\\c\nW", at::GREETING), ("S 220 mx\nW", at::HELLO)] {
        for error in errors(&settings, script).await {
            assert!(matches!(error, Error::TimedOut(place) if place == at), "{script}: {error}");
        }
    }
}

#[tokio::test]
async fn an_address_where_nobody_listens() {
    // A port that nobody else gets, and nobody listens on.
    let held = tokio::net::TcpSocket::new_v4().expect("a socket");
    held.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let address = Address::Tcp(held.local_addr().expect("bound"));
    for address in [address, Address::Unix("/nonexistent/socket".into())] {
        let settings = Settings { address, ..settings(Tell::Nothing) };
        assert!(matches!(Upstream::connect(&settings, &client()).await, Err(Error::Unreachable(_))));
    }
}

#[tokio::test]
async fn connects_to_a_port() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let settings = Settings { address: Address::Tcp(listener.local_addr().expect("bound")), ..settings(Tell::Nothing) };
    let server =
        async { Peer::new(Box::new(listener.accept().await.expect("a client").0), &format!("{PLAIN}C QUIT\nS 221 bye\nW")) };
    let client = client();
    let (peer, upstream) = tokio::join!(server, Upstream::connect(&settings, &client));
    upstream.expect("connected").quit().await;
    assert_eq!(peer.rest().await, "");
}

#[tokio::test]
async fn lmtp_says_lhlo_and_never_helo() {
    let settings = Settings { protocol: Protocol::Lmtp, ..settings(Tell::Nothing) };
    let script = "S 220 mx\nC LHLO front.example\nS 250-mx\nS 250 DSN";
    for upstream in upstreams(&settings, &client(), script).await {
        assert!(upstream.offers().dsn);
    }
    for error in errors(&settings, "S 220 mx\nC LHLO front.example\nS 550 no").await {
        assert!(matches!(error, Error::Refused(reply) if reply.code == 550));
    }
}

#[tokio::test]
async fn another_protocol_is_no_reason_to_refuse_mail() {
    let lmtp = Settings { protocol: Protocol::Lmtp, ..settings(Tell::Nothing) };
    for error in errors(&lmtp, "S 220 mx\nC LHLO front.example\nS 502 5.5.2 Error: command not recognized").await {
        assert!(matches!(error, Error::Misconfigured(_)), "{error}");
    }
    let script = "S 220 mx\nC EHLO front.example\nS 500 5.5.1 use LHLO\nC HELO front.example\nS 500 5.5.1 use LHLO";
    for error in errors(&settings(Tell::Nothing), script).await {
        assert!(matches!(error, Error::Misconfigured(_)), "{error}");
    }
    // A name that upstream dislikes is the client's.
    for error in errors(&settings(Tell::Nothing), &script.replace("500 5.5.1 use LHLO", "504 5.5.2 Helo command rejected")).await
    {
        assert!(matches!(error, Error::Refused(_)), "{error}");
    }
}

#[tokio::test]
async fn xclient_then_the_clients_own_command() {
    let announced = "S 220 mx
        C EHLO front.example
        S 250-mx
        S 250-DSN
        S 250 XCLIENT name ADDR PROTO HELO
        ";
    let script = format!(
        "{announced}
        C XCLIENT PROTO=ESMTP HELO=mail.example.com NAME=[UNAVAILABLE] ADDR=192.0.2.1
        S 220 mx
        C EHLO mail.example.com
        S 250-mx
        S 250 SMTPUTF8"
    );
    for upstream in upstreams(&settings(Tell::Xclient), &client(), &script).await {
        assert_eq!(upstream.offers(), &Offers { smtputf8: true, ..Offers::default() }, "of the last EHLO");
    }
    let script = format!(
        "{announced}
        C XCLIENT PROTO=SMTP HELO=[UNAVAILABLE] NAME=[UNAVAILABLE] ADDR=192.0.2.1
        S 220 mx
        C HELO [192.0.2.1]
        S 250 mx"
    );
    let hostile = Client { extended: false, ehlo_name: "x ADDR=127.0.0.1\r\nRSET", ..client() };
    for upstream in upstreams(&settings(Tell::Xclient), &hostile, &script).await {
        assert_eq!(upstream.offers(), &Offers::default());
    }
}

#[tokio::test]
async fn without_xclient_no_mail_goes_upstream() {
    let announced = "S 220 mx\nC EHLO front.example\nS 250-mx\nS 250 XCLIENT ADDR\nC XCLIENT ADDR=192.0.2.1\n";
    for script in [
        PLAIN,
        "S 220 mx\nC EHLO front.example\nS 250-mx\nS 250 XCLIENT NAME",
        "S 220 mx\nC EHLO front.example\nS 500 ?\nC HELO front.example\nS 250-mx\nS 250 XCLIENT ADDR",
        &format!("{announced}S 501 5.5.4 Bad ADDR syntax"),
        &format!("{announced}S 550 5.7.0 Error: insufficient authorization"),
    ] {
        for error in errors(&settings(Tell::Xclient), script).await {
            assert!(matches!(error, Error::Misconfigured(_)), "{script}: {error}");
        }
    }
    for error in errors(&settings(Tell::Xclient), &format!("{announced}S 554 5.7.1 blocked")).await {
        assert!(matches!(error, Error::Refused(reply) if reply.code == 554));
    }
    for error in errors(&settings(Tell::Xclient), announced).await {
        assert!(matches!(error, Error::Closed(at::XCLIENT)));
    }
}

#[tokio::test]
async fn the_proxy_line_comes_before_anything() {
    let script = "C PROXY TCP4 192.0.2.1 192.0.2.2 1234 25
        S 220 mx
        C EHLO mail.example.com
        S 250 mx";
    upstreams(&settings(Tell::ProxyV1), &client(), script).await;
    upstreams(&settings(Tell::ProxyV1), &Client { extended: false, ..client() }, &script.replace("EHLO", "HELO")).await;
}

/// Its replies would all be one behind, and the client would be taken for us.
#[tokio::test]
async fn an_upstream_without_proxy_is_found_out() {
    let late = "C PROXY TCP4 192.0.2.1 192.0.2.2 1234 25
        S 220 mx
        S 502 5.5.2 Error: command not recognized
        W";
    // The 502 is there with the greeting, or is taken for the reply to EHLO.
    for error in errors(&settings(Tell::ProxyV1), late).await {
        assert!(matches!(error, Error::Misconfigured(_)), "{error}");
    }
    let later = "C PROXY TCP4 192.0.2.1 192.0.2.2 1234 25
        S 220 mx
        C EHLO mail.example.com
        S 502 5.5.2 Error: command not recognized
        W";
    for error in errors(&settings(Tell::ProxyV1), later).await {
        assert!(matches!(error, Error::Misconfigured(_)), "{error}");
    }
    let refused = later.replace("502 5.5.2", "550 5.7.1");
    for error in errors(&settings(Tell::ProxyV1), &refused).await {
        assert!(matches!(error, Error::Refused(_)), "{error}");
    }
    // It greets at once. With sockets the line may be sent before that is noticed.
    let (ours, mut theirs) = duplex(64);
    theirs.write_all(b"220 mx\r\n").await.expect("open");
    let error = Upstream::over(Box::new(ours), &settings(Tell::ProxyV1), &client()).await.err().expect("too early");
    assert!(matches!(error, Error::Misconfigured(_)), "{error}");
}
