//! What stands beside the mail: the control socket, and the port of the metrics and the status page. Mail is served without them; that they
//! are missing is an error in the log, and what the configuration has wrong about them is found by `--check-config`.

use std::io;
use std::path::Path;

use smtp_fallback_monitor::{BindError, Listener};
use smtp_fallback_store::control::{Control, ControlError};

use crate::config;

/// Below these, service managers make folders at the start.
const RUNTIME_FOLDERS: [&str; 2] = ["/run", "/var/run"];

/// Opens the control socket, where one is configured. Where that fails, the log says so.
pub fn control(config: &config::Store) -> Option<Control> {
    match bind_control(config)? {
        Ok(control) => Some(control),
        Err(error) => {
            tracing::error!(event = "control-unavailable", %error, "serving mail without the control socket");
            None
        }
    }
}

/// Binds the port of the metrics and the status page, where one is configured. Where that fails, the log says so.
pub fn monitor(config: Option<&config::Monitor>) -> Option<Listener> {
    match bind_monitor(config)? {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::error!(event = "monitor-unavailable", %error, "serving mail without metrics and status page");
            None
        }
    }
}

/// What [`check`] finds.
#[derive(Debug, Default)]
pub struct Found {
    /// What may be as it should be.
    pub warnings: Vec<String>,
    /// What cannot be used.
    pub errors: Vec<String>,
}

/// Tries both, and leaves nothing. A running server of this configuration holds them: that is no error.
pub fn check(store: &config::Store, monitor: Option<&config::Monitor>) -> Found {
    let mut found = Found::default();
    match bind_control(store) {
        None | Some(Ok(_) | Err(ControlError::InUse { .. })) => {}
        Some(Err(error)) if comes_with_the_start(&error) => {
            found.warnings.push(format!("store.control: {error}; a service manager may make the directory at the start"));
        }
        Some(Err(error)) => found.errors.push(format!("store.control: {error}")),
    }
    match bind_monitor(monitor) {
        None | Some(Ok(_)) => {}
        Some(Err(BindError::Bind { address, error }))
            if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) =>
        {
            found.warnings.push(format!(
                "monitor.address: {address} cannot be bound now: {error}; if no server of this configuration runs, or it may not either, \
                 there will be no metrics and no status page"
            ));
        }
        Some(Err(error)) => found.errors.push(format!("monitor.address: {error}")),
    }
    found
}

fn bind_control(config: &config::Store) -> Option<Result<Control, ControlError>> {
    Some(Control::bind(config.control.as_ref()?, config.control_mode, None))
}

fn bind_monitor(config: Option<&config::Monitor>) -> Option<Result<Listener, BindError>> {
    let config::Monitor { address, allow_remote } = config?;
    Some(Listener::bind(*address, *allow_remote))
}

fn comes_with_the_start(error: &ControlError) -> bool {
    let ControlError::Open { path, error, .. } = error else { return false };
    let folder = path.parent().unwrap_or(Path::new(""));
    error.kind() == io::ErrorKind::NotFound && !folder.exists() && RUNTIME_FOLDERS.iter().any(|known| folder.starts_with(known))
}
