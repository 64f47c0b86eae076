//! The connection to a client, plain at first, and under TLS after STARTTLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::server::TlsStream;

/// A connection.
#[derive(Debug)]
pub enum Channel<S> {
    /// As it was accepted.
    Plain(S),
    /// After the handshake.
    Tls(Box<TlsStream<S>>),
    /// The handshake failed: nothing can be read or written any more.
    Lost,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    /// Makes the handshake. After an error the connection is lost.
    pub async fn start_tls(&mut self, acceptor: &TlsAcceptor) -> io::Result<()> {
        match std::mem::replace(self, Channel::Lost) {
            Channel::Plain(stream) => {
                *self = Channel::Tls(Box::new(acceptor.accept(stream).await?));
                Ok(())
            }
            _ => Err(io::Error::other("TLS is in use already")),
        }
    }

    /// The certificates that the client showed, its own first; none without TLS, or where it showed none.
    pub fn client_certificates(&self) -> &[CertificateDer<'static>] {
        match self {
            Channel::Tls(stream) => stream.get_ref().1.peer_certificates().unwrap_or_default(),
            _ => &[],
        }
    }

    /// Version and cipher suite, for the log.
    pub fn tls_description(&self) -> Option<String> {
        let Channel::Tls(stream) = self else { return None };
        let (_, session) = stream.get_ref();
        // Names as people know them: TLSv1.3 and TLS_AES_..., where rustls says TLSv1_3 and TLS13_AES_....
        let version = format!("{:?}", session.protocol_version()?).replace('_', ".");
        let suite = format!("{:?}", session.negotiated_cipher_suite()?.suite()).replace("TLS13_", "TLS_");
        Some(format!("{version} {suite}"))
    }
}

fn lost() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Channel<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Channel::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Channel::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Channel::Lost => Poll::Ready(Err(lost())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Channel<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Channel::Plain(stream) => Pin::new(stream).poll_write(context, octets),
            Channel::Tls(stream) => Pin::new(stream).poll_write(context, octets),
            Channel::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Channel::Plain(stream) => Pin::new(stream).poll_flush(context),
            Channel::Tls(stream) => Pin::new(stream).poll_flush(context),
            Channel::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Channel::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Channel::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Channel::Lost => Poll::Ready(Err(lost())),
        }
    }
}
