//! Whether this host hears of mail that arrives over IPv4.

use smtp_fallback_daemon::config::Ipv4Arrivals;
use smtp_fallback_policy::contract::Listener as Kind;

use super::{Config, Listener};

impl Config {
    /// What [`Config::ipv4_arrivals_visible`] says, else what is sure.
    ///
    /// With `true` the policy may reject mail for good, and disbelieve a client, because a mail was not seen over IPv4; if it arrived where
    /// this host hears nothing of it, that is wrong. With `false` both only stay undone. So the default is `true` only where a listener for
    /// mail has an IPv4 address of its own that other machines reach. A loopback address is for tests or behind something else, and behind a
    /// proxy the listener's own address says nothing about the clients'.
    pub fn ipv4_arrivals(&self) -> Ipv4Arrivals {
        let takes_ipv4 = |listener: &Listener| {
            let ip = listener.address.ip();
            listener.kind == Kind::Mx && listener.proxy_from.is_empty() && ip.is_ipv4() && !ip.is_loopback()
        };
        match self.ipv4_arrivals_visible {
            Some(visible) => Ipv4Arrivals { visible, why: "the configuration says so" },
            None if self.listeners.iter().any(takes_ipv4) => Ipv4Arrivals {
                visible: true,
                why: "a listener has an IPv4 address; if mail of these domains also arrives over IPv4 at hosts that do not share this \
                      host's records, set ipv4_arrivals_visible = false",
            },
            None => Ipv4Arrivals {
                visible: false,
                why: "no listener has an IPv4 address that other machines reach without a proxy; if mail over IPv4 comes by a proxy, or to \
                      hosts that share this host's records, set ipv4_arrivals_visible = true",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(setting: &str, listeners: &[&str]) -> bool {
        let top = "host_name = \"mx.demo.example\"\ndomains = [\"demo.example\"]\nmaildir = \"mail\"\ncomponent = \"a\"\npolicy = \"b\"";
        let listeners: String = listeners.iter().map(|listener| format!("[[listener]]\naddress = {listener}\n")).collect();
        let config: Config = toml::from_str(&format!("{top}\n{setting}\n{listeners}")).expect("valid");
        let Ipv4Arrivals { visible, why } = config.ipv4_arrivals();
        assert_eq!(why.contains("ipv4_arrivals_visible ="), setting.is_empty(), "how to set it, where it is not set: {why}");
        visible
    }

    #[test]
    fn by_default_only_what_is_sure() {
        for listener in ["\"0.0.0.0:25\"", "\"192.0.2.1:25\"", "\"10.0.0.1:25\""] {
            assert!(visible("", &["\"[::]:25\"", listener]), "{listener}");
        }
        for listener in [
            "\"[::1]:25\"",
            "\"127.0.0.1:25\"",
            "\"127.1.2.3:25\"",
            "\"0.0.0.0:587\"\nkind = \"submission\"",
            "\"[::]:26\"\nproxy_from = [\"192.0.2.9\"]",
            "\"0.0.0.0:26\"\nproxy_from = [\"192.0.2.9\"]",
        ] {
            assert!(!visible("", &["\"[::]:25\"", listener]), "{listener}");
        }
    }

    #[test]
    fn what_is_said_counts() {
        assert!(visible("ipv4_arrivals_visible = true", &["\"[::]:25\""]), "others share the records");
        assert!(!visible("ipv4_arrivals_visible = false", &["\"0.0.0.0:25\""]), "others do not");
    }
}
