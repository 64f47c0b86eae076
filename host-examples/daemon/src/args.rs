//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// A program: what it says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name, such as `smtp-fallback-smtpd`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What `--help` prints.
    pub help: &'static str,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Args {
    /// Print [`Program::help`].
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
                    Some(arguments.next().ok_or("--config needs the name of the configuration file behind it")?)
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
        let config = config.ok_or("no configuration file was named; use --config FILE")?;
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
