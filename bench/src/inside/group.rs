//! CPU time of processes, also of those that have ended, by cgroups of version 2; and the memory of those that run.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Processes that are counted together.
#[derive(Clone)]
pub(crate) struct Group(PathBuf);

impl Group {
    /// Makes it below `parent`. Every user may move own processes from one group below `parent` to another.
    pub(crate) fn create(parent: &Path, name: &str) -> io::Result<Group> {
        let path = parent.join(name);
        fs::create_dir(&path)?;
        for folder in [parent, &path] {
            fs::set_permissions(folder.join("cgroup.procs"), fs::Permissions::from_mode(0o666))?;
        }
        Ok(Group(path))
    }

    /// Moves this process here.
    pub(crate) fn enter(&self) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), "0")
    }

    /// A command that runs here from its beginning, with all its children.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("sh");
        // The filters' sockets are for Postfix too, which is another user.
        command.args(["-c", &format!("umask 0; {}\"$@\"", self.move_and_exec()), "sh"]).arg(program).stdin(Stdio::null());
        command
    }

    /// For the shell: what follows this runs here.
    pub(crate) fn move_and_exec(&self) -> String {
        format!("echo 0 > {}/cgroup.procs && exec ", self.0.display())
    }

    /// The CPU time so far.
    pub(crate) fn cpu(&self) -> io::Result<Cpu> {
        let path = self.0.join("cpu.stat");
        let text = fs::read_to_string(&path)?;
        let value = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
            value.ok_or_else(|| io::Error::other(format!("{}: there is no {name}", path.display())))
        };
        Ok(Cpu { all: value("usage_usec ")?, system: value("system_usec ")? })
    }

    /// The memory of its processes, in kB: of what several share, each counts its part (PSS).
    pub(crate) fn memory(&self) -> io::Result<u64> {
        let processes = fs::read_to_string(self.0.join("cgroup.procs"))?;
        let of = |process: &str| {
            // It may have ended since.
            let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
            let pss =
                text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
            pss.unwrap_or_default()
        };
        Ok(processes.lines().map(of).sum())
    }
}

/// CPU time in µs.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cpu {
    all: u64,
    system: u64,
}

impl Cpu {
    /// For one of so many messages: all, and what of it was spent in the kernel.
    pub(crate) fn per(self, messages: usize) -> (f64, f64) {
        (self.all as f64 / messages as f64, self.system as f64 / messages as f64)
    }
}

impl std::ops::Sub for Cpu {
    type Output = Cpu;

    fn sub(self, before: Cpu) -> Cpu {
        Cpu { all: self.all - before.all, system: self.system.saturating_sub(before.system) }
    }
}

impl std::iter::Sum for Cpu {
    fn sum<I: Iterator<Item = Cpu>>(all: I) -> Cpu {
        all.fold(Cpu::default(), |sum, cpu| Cpu { all: sum.all + cpu.all, system: sum.system + cpu.system })
    }
}

/// The groups of one run, which are removed with this.
pub(crate) struct Groups(PathBuf);

impl Groups {
    /// Makes a group that the others are made in.
    pub(crate) fn create() -> Result<Groups, Box<dyn std::error::Error>> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let root =
            mounts.find_map(|mount| (mount.get(2) == Some(&"cgroup2")).then(|| mount.get(1).map(|path| path.to_string()))?);
        let root =
            root.ok_or("CPU time is measured by cgroups of version 2, and none are mounted; mount -t cgroup2 none FOLDER")?;
        let path = Path::new(&root).join(format!("smtp-fallback-bench-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| {
            format!(
                "{}: {error}; CPU time is measured by cgroups of version 2, and this has to run where root may make them",
                path.display()
            )
        })?;
        Ok(Groups(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // The processes have ended with their namespace, but may not be gone at once.
        for _ in 0..50 {
            for group in fs::read_dir(&self.0).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
                let _ = fs::remove_dir(group.path());
            }
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
