//! How a command can fail.

use std::io;

use smtp_fallback_store::StoreError;
use smtp_fallback_store::control::ControlError;

/// The exit status where nothing was found, as with grep(1), and where something is wrong.
pub(crate) const NOT_FOUND: u8 = 1;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Fail {
    /// Nobody reads the output any more, as in `| head`.
    PipeClosed,
    /// What was checked is wrong, as the output says.
    Wrong,
    /// What was asked for is not there.
    NotFound(String),
    /// All else, in words for people.
    Other(String),
}

impl Fail {
    /// Why a file cannot be used.
    pub(crate) fn file(what: &str, name: &str, error: io::Error) -> Fail {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Fail::PipeClosed
        } else {
            Fail::Other(format!("cannot {what} {name}: {error}"))
        }
    }
}

impl From<ControlError> for Fail {
    fn from(error: ControlError) -> Self {
        let advice = match error {
            ControlError::NoHost { .. } => {
                " (the host's configuration says where its control socket is; name it by --socket PATH or in SMTP_FALLBACK_SOCKET)"
            }
            _ => "",
        };
        Fail::Other(format!("{error}{advice}"))
    }
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        Fail::Other(error.to_string())
    }
}
