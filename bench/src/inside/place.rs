//! The namespaces that everything runs in.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::group::Groups;
use super::load;

/// Where servers listen.
pub(crate) const SERVER: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// As many open files as the system allows: a connection takes one in each of the two processes that have it.
const RAISE_AND_EXEC: &str = "ulimit -Sn \"$(ulimit -Hn)\" && exec \"$@\"";

/// Starts this program again in namespaces of its own, with `word inside`, its folders and these arguments; waits for its end, and removes what
/// it needed.
pub(crate) fn run_inside(component: &str, word: &str, arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix("smtp-fallback-bench-").tempdir()?;
    let groups = Groups::create()?;
    // Ctrl-C is for the processes inside. This one has to clean up.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let _interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    inside.args(["sh", "-c", RAISE_AND_EXEC, "sh"]).arg(std::env::current_exe()?);
    inside.args(["--component", component, word, "inside"]).arg(groups.path()).arg(folder.path()).args(arguments);
    let status = inside.status().map_err(|error| format!("unshare cannot be started: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("nothing was measured ({status}); what went wrong is said above").into()) }
}

/// Gives the namespaces their addresses and their resolver. What is written below `folder` is in memory, for what disks cost is not asked here.
pub(crate) fn furnish(folder: &Path) -> Result<(), Box<dyn Error>> {
    text(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    for address in load::clients().chain([SERVER]) {
        text(Command::new("ip").args(["-6", "address", "add", &format!("{address}/128"), "dev", "lo", "nodad"]))?;
    }
    text(Command::new("mount").args(["-t", "tmpfs", "smtp-fallback-bench"]).arg(folder))?;
    // Other users have to get through.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    let resolver = folder.join("resolv.conf");
    std::fs::write(&resolver, "nameserver 127.0.0.1\n")?;
    text(Command::new("mount").arg("--bind").arg(&resolver).arg("/etc/resolv.conf"))?;
    Ok(())
}

/// What a program says, where it ends well.
pub(crate) fn text(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?} cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(
            format!("{command:?} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end()).into()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
