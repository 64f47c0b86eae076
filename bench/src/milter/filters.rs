//! The filters, each in a group of its own.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Expected, Setup};
use crate::inside::filter::{Filter, Policyd};
use crate::inside::group::Group;

/// The port of the first row.
const PORT: u16 = 2500;

/// Who is refused is only seen where the policy enforces; with everything else as it is without a word.
const POLICY: &str = r#"{"mode": "enforce", "url": "https://www.example.org/ipv6"}"#;

/// Running filters. They write no log: what their lines cost depends on where they go.
pub(crate) struct Filters {
    noop: Filter,
    ours: Vec<Filter>,
    opendkim: Filter,
    policyd: Policyd,
}

impl Filters {
    /// Starts them. Their sockets are there when this returns.
    pub(crate) fn start(
        component: &str,
        groups: &Path,
        folder: &Path,
        ours: &[(String, PathBuf)],
    ) -> Result<Filters, Box<dyn Error>> {
        let component =
            fs::canonicalize(component).map_err(|error| format!("{component}: {error}; cargo xtask component builds it"))?;
        let noop = Filter::start("no-op milter", "no-op", groups, folder, |group, socket| {
            let mut command = group.command(std::env::current_exe()?);
            command.arg("--component").arg(&component).args(["milter", "no-op"]).arg(socket);
            Ok(command)
        })?;
        let mut builds = Vec::new();
        for (number, (name, program)) in ours.iter().enumerate() {
            builds.push(Filter::start(name, &format!("ours-{number}"), groups, folder, |group, socket| {
                let folder = folder.join(format!("ours-{number}"));
                fs::create_dir(&folder)?;
                fs::write(folder.join("policy.json"), POLICY)?;
                fs::write(folder.join("milter.toml"), configuration(socket, &component))?;
                let mut command = group.command(program);
                command.arg("--config").arg(folder.join("milter.toml"));
                Ok(command)
            })?);
        }
        let opendkim = Filter::opendkim(groups, folder)?;
        Ok(Filters { noop, ours: builds, opendkim, policyd: Policyd::new(groups, folder)? })
    }

    pub(crate) fn policyd(&self) -> &Policyd {
        &self.policyd
    }

    /// The rows, in their order.
    pub(crate) fn setups(&self) -> Vec<Setup> {
        let (dkim, spf) = (Expected::Field("dkim=pass"), Expected::Field("Received-SPF: Pass"));
        let mut all = Vec::new();
        let mut port = PORT..;
        let mut add = |name: &str, filter: Option<&Filter>, policyd: bool, expected: Vec<Expected>| {
            let mut groups: Vec<Group> = filter.iter().map(|filter| filter.group.clone()).collect();
            if policyd {
                groups.push(self.policyd.group.clone());
            }
            all.push(Setup {
                name: name.to_owned(),
                port: port.next().unwrap_or_default(),
                milter: filter.map(|filter| format!("unix:{}", filter.socket.display())),
                policyd,
                groups,
                expected,
                log: filter.map(|filter| filter.socket.with_extension("log")),
            });
        };
        add("no milter", None, false, Vec::new());
        add(&self.noop.name, Some(&self.noop), false, Vec::new());
        for filter in &self.ours {
            add(&filter.name, Some(filter), false, vec![Expected::Refusal("4.4.8")]);
        }
        add(&self.opendkim.name, Some(&self.opendkim), false, vec![dkim]);
        add("policyd-spf", None, true, vec![spf]);
        add("opendkim + policyd-spf", Some(&self.opendkim), true, vec![dkim, spf]);
        all
    }
}

fn configuration(socket: &Path, component: &Path) -> String {
    format!(
        "listen = [\"unix:{}\"]\n\
         host_name = \"mx.demo.example\"\n\
         component = \"{}\"\n\
         policy = \"policy.json\"\n\
         log = \"warn\"\n\
         reachable_over_ipv4 = true\n\
         [verify]\n\
         nameservers = [\"127.0.0.1:53\"]\n",
        socket.display(),
        component.display()
    )
}
