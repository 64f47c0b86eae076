//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// What `--help` prints.
pub const HELP: &str = "\
An SMTP server that applies the policy component, and keeps what it accepts in a Maildir or hands it to the mail server behind it.

Usage: smtp-fallback-smtpd --config FILE [--check-config] [--observe]

  --config FILE    The configuration, a TOML file. Required.
  --check-config   Load everything that the configuration names, print errors and warnings, and exit:
                   0 if it can be used, 1 if not. Run it as the server's user, whose rights count; no
                   listener is bound, the control socket and the monitor's port only for a moment where
                   they are free, and neither upstream nor Redis nor a name server is asked.
  --observe        Refuse nothing, whatever the policy's mode: log what would have been answered.
  --help           Print this text.
  --version        Print the version.

SIGHUP reads the policy and the certificates again, and logs what else has changed in FILE, which takes a restart.
SIGTERM and SIGINT finish what is in hand and end the server.

Exit status: 0 after a shutdown by SIGTERM or SIGINT, 1 when the server cannot start, 2 for a wrong command line.
";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Args {
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
    /// Check the configuration, or serve.
    Run(Run),
}

/// How to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The configuration file.
    pub config: PathBuf,
    /// Only check it.
    pub check: bool,
    /// Observe, whatever the policy says.
    pub observe: bool,
}

impl Args {
    /// Reads the arguments after the program's name. The error says what was wrong and what was expected.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Args, String> {
        let mut arguments = arguments.into_iter();
        let (mut config, mut check, mut observe) = (None, false, false);
        while let Some(argument) = arguments.next() {
            let text = argument.to_string_lossy();
            let value = match text.split_once('=') {
                _ if text == "--config" => {
                    Some(arguments.next().ok_or("--config needs the name of the configuration file, as in --config smtpd.toml")?)
                }
                Some(("--config", value)) => Some(value.into()),
                _ => None,
            };
            match (text.as_ref(), value) {
                (_, Some(value)) if config.is_none() => config = Some(PathBuf::from(value)),
                (_, Some(_)) => return Err("--config was given twice; one configuration file is expected".into()),
                ("--check-config", _) => check = true,
                ("--observe", _) => observe = true,
                ("--help" | "-h", _) => return Ok(Args::Help),
                ("--version" | "-V", _) => return Ok(Args::Version),
                (text, _) => {
                    return Err(format!(
                        "{text:?} is no option; expected --config FILE, --check-config, --observe, --help or --version"
                    ));
                }
            }
        }
        let config = config.ok_or("no configuration file was named; use --config FILE (an example is smtpd.toml)")?;
        Ok(Args::Run(Run { config, check, observe }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, String> {
        Args::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn reads_options_in_any_order() {
        let run = |check, observe| Ok(Args::Run(Run { config: "a.toml".into(), check, observe }));
        assert_eq!(parse(&["--config", "a.toml"]), run(false, false));
        assert_eq!(parse(&["--config=a.toml", "--observe"]), run(false, true));
        assert_eq!(parse(&["--observe", "--check-config", "--config", "a.toml"]), run(true, true));
        assert_eq!(parse(&["--help"]), Ok(Args::Help));
        assert_eq!(parse(&["--version"]), Ok(Args::Version));
    }

    #[test]
    fn says_what_is_wrong() {
        for (arguments, part) in [
            (&[][..], "--config FILE"),
            (&["--config"], "needs the name"),
            (&["--config", "a", "--config=b"], "twice"),
            (&["--observ"], "\"--observ\" is no option"),
            (&["a.toml"], "\"a.toml\" is no option"),
        ] {
            let error = parse(arguments).expect_err("wrong");
            assert!(error.contains(part), "{error}");
        }
    }
}
