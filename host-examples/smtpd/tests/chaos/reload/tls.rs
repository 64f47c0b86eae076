//! Certificates that are renewed, and a client that uses STARTTLS and believes every server.

use std::net::SocketAddr;
use std::path::Path;

use smtp_fallback_demo::client::Reply;
use smtp_fallback_demo::tls;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

/// The table of the configuration for the files that [`renew`] writes.
pub(super) const TABLE: &str = "[tls]\ncertificate = \"mx.pem\"\nkey = \"mx.key\"\n";

/// Writes another certificate and its key; the certificate.
pub(super) fn renew(folder: &Path) -> CertificateDer<'static> {
    tls::renew(folder, "mx.demo.example").unwrap()
}

/// Sends a message over TLS. The certificate that the server showed, and the last reply.
pub(super) async fn send(address: SocketAddr, message: &[u8]) -> (CertificateDer<'static>, Reply) {
    let mut plain = BufReader::new(TcpStream::connect(address).await.unwrap());
    assert_eq!(reply(&mut plain).await.code, 220);
    assert_eq!(command(&mut plain, "EHLO client.example").await.code, 250);
    assert_eq!(command(&mut plain, "STARTTLS").await.code, 220);
    let connector = tls::connector(None).unwrap();
    let name = ServerName::try_from("mx.demo.example").unwrap();
    let stream = connector.connect(name, plain.into_inner()).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    let mut stream = BufReader::new(stream);
    for line in ["EHLO client.example", "MAIL FROM:<smith@spf.example>", "RCPT TO:<jones@demo.example>"] {
        assert_eq!(command(&mut stream, line).await.code, 250, "{line}");
    }
    let bdat = format!("BDAT {} LAST\r\n", message.len());
    stream.write_all(&[bdat.as_bytes(), message].concat()).await.unwrap();
    let last = reply(&mut stream).await;
    assert_eq!(command(&mut stream, "QUIT").await.code, 221);
    (shown, last)
}

async fn command<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, line: &str) -> Reply {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    reply(stream).await
}

async fn reply<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> Reply {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).await.unwrap() > 0, "closed after {lines:?}");
        lines.push(line[4..].trim_end().to_owned());
        if &line[3..4] == " " {
            return Reply { code: line[..3].parse().unwrap(), lines };
        }
    }
}
