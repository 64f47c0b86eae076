//! The milter protocol, versions 2 to 6, from the filter's side: what Postfix and Sendmail say about a connection and its mail, and what
//! a filter may answer.
//!
//! [`Connection`] is one connection of an MTA: it negotiates, reads [`Command`]s in an order that can be relied on, keeps the
//! [`Macros`], and sends a [`Reply`] only where one is due. Beneath it [`Decoder`] cuts octets into packets and [`Command::decode`]
//! reads them; neither does input or output.
//!
//! What comes from the MTA holds what the SMTP client wrote, so it is kept as [`Octets`], and text only where that is asked for.
//!
//! ```no_run
//! # async fn filter(stream: tokio::net::UnixStream) -> Result<(), smtp_fallback_milter_codec::ConnectionError> {
//! use smtp_fallback_milter_codec::{Connection, Reply, TimeLimits, Wishes};
//!
//! let Some(mut connection) = Connection::open(stream, &Wishes::POLICY, TimeLimits::default()).await? else { return Ok(()) };
//! while let Some(command) = connection.next().await? {
//!     println!("{command:?}");
//!     if connection.due().is_some() {
//!         connection.reply(&Reply::Continue).await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod any;
mod command;
mod connection;
mod edit;
mod macros;
mod negotiate;
mod octets;
mod order;
mod packet;
mod protocol;
mod reply;

pub use any::{check_any, decode_any};
pub use command::{Client, Command, CommandError, MAX_STRINGS, Path};
pub use connection::{Connection, ConnectionError, ProtocolError, TimeLimits};
pub use edit::{Edit, EditError};
pub use macros::Macros;
pub use negotiate::{Agreement, NegotiateError, Offer, VERSION_MAX, VERSION_MIN, Wishes};
pub use octets::Octets;
pub use order::OrderError;
pub use packet::{Decoder, MAX_DATA, Packet, PacketError};
pub use protocol::{Actions, Protocol, Stage};
pub use reply::{LINE_MAX, LINES_MAX, Refusal, RefusalError, Reply};
