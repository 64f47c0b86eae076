//! What the demo and the end-to-end tests of a receiving host need around it: a name server on the loopback interface, a DKIM
//! signer with public test keys, certificates, an SMTP client that shows what was said, a way to start the server, and the dialogues of the
//! draft's appendix A.

#![forbid(unsafe_code)]

pub mod client;
pub mod dialogues;
pub mod server;
pub mod sign;
pub mod tls;
pub mod zone;
