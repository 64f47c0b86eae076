//! The lines of replies: text with placeholders.

use super::Texts;

/// The longest text of a line: 512 octets (RFC 5321 §4.5.3.1.5) less the reply code and its separator (4), the longest enhanced
/// status code and a space ("4.999.999 ", 10), and CRLF (2).
pub const MAX_TEXT: usize = 512 - 4 - 10 - 2;

/// A line with placeholders, in printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Failed,
    Client,
    Prefix,
    Url,
}

/// What is put in for the placeholders: printable ASCII, made by the module; nothing in it was chosen by the client.
#[derive(Clone, Copy, Debug)]
pub struct TextValues<'a> {
    /// `{failed}`: the checks that did not pass, such as "SPF=none, DKIM=none"; at most 160 octets.
    pub failed: &'a str,
    /// `{client}`: the client's address; at most 39 octets.
    pub client: &'a str,
    /// `{prefix}`: its network; at most 43 octets.
    pub prefix: &'a str,
    /// `{url}`: where the policy is explained.
    pub url: &'a str,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// It is empty, or all spaces.
    Empty,
    /// A character that is not printable ASCII.
    NotAscii(char),
    /// A brace that is not part of a known placeholder; the text between the braces, if they close.
    Placeholder(Option<String>),
    /// `{url}`, but the policy has no `url`.
    NoUrl,
    /// The line could grow to this many octets.
    TooLong(usize),
}

/// The most that `{failed}` can take, see [`TextValues::failed`].
pub const MAX_FAILED: usize = 160;
const MAX_CLIENT: usize = 39;
const MAX_PREFIX: usize = 43;

impl Template {
    /// Reads a line. `url` is the policy's, whose length counts where the line names it.
    pub fn parse(text: &str, url: Option<&str>) -> Result<Self, TemplateError> {
        if text.trim().is_empty() {
            return Err(TemplateError::Empty);
        }
        if let Some(odd) = text.chars().find(|c| !(' '..='~').contains(c)) {
            return Err(TemplateError::NotAscii(odd));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, brace)) = rest.find(['{', '}']).and_then(|at| rest.split_at_checked(at)) {
            if !before.is_empty() {
                parts.push(Part::Literal(before.into()));
            }
            let closed = brace.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let name = closed.map(|(name, _)| name);
            parts.push(match name {
                Some("failed") => Part::Failed,
                Some("client") => Part::Client,
                Some("prefix") => Part::Prefix,
                Some("url") if url.is_none() => return Err(TemplateError::NoUrl),
                Some("url") => Part::Url,
                _ => return Err(TemplateError::Placeholder(name.map(Into::into))),
            });
            rest = closed.map_or("", |(_, after)| after);
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        let longest = parts
            .iter()
            .map(|part| match part {
                Part::Literal(text) => text.len(),
                Part::Failed => MAX_FAILED,
                Part::Client => MAX_CLIENT,
                Part::Prefix => MAX_PREFIX,
                Part::Url => url.map_or(0, str::len),
            })
            .sum();
        if longest > MAX_TEXT {
            return Err(TemplateError::TooLong(longest));
        }
        Ok(Template { source: text.into(), parts })
    }

    /// The line as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it names the client's network.
    pub fn names_prefix(&self) -> bool {
        self.parts.contains(&Part::Prefix)
    }

    /// The line with its placeholders filled in.
    pub fn fill(&self, values: &TextValues<'_>) -> String {
        let mut line = String::with_capacity(128);
        for part in &self.parts {
            line.push_str(match part {
                Part::Literal(text) => text,
                Part::Failed => values.failed,
                Part::Client => values.client,
                Part::Prefix => values.prefix,
                Part::Url => values.url,
            });
        }
        // Every value has its bound, so this cuts nothing; it keeps the promise should a bound be wrong one day.
        line.truncate(MAX_TEXT);
        line
    }
}

impl Texts {
    /// The texts where the policy names none. The first line says it all, with the policy's URL where there is one (P14).
    pub fn standard(url: Option<&str>) -> Self {
        let see = if url.is_some() { "; see {url}" } else { "" };
        let lines = |first: &str, second: &str| {
            [[first, see].concat(), second.into()]
                .map(|text: String| {
                    Template::parse(&text, url)
                        .unwrap_or_else(|_| unreachable!("a standard text is short, and a URL has 255 octets at most"))
                })
                .into()
        };
        Texts {
            unauthenticated: lines(
                "{failed}: not accepted over IPv6, retry over IPv4 now",
                "Client {client}: over IPv6 this host takes authenticated mail only",
            ),
            distrusted: lines(
                "Sender domain not trusted over IPv6, retry over IPv4 now",
                "Client {client}: the domains that authenticated this mail have a bad reputation here",
            ),
            penalty: lines(
                "Not accepting mail from {prefix} over IPv6, retry over IPv4 now",
                "Client {client}: most recent mail of your network was not authenticated",
            ),
            temporary_error: lines(
                "{failed}: cannot be checked at the moment, try again later",
                "Client {client}: too many results of your network had temporary errors",
            ),
            never_falls_back: lines(
                "{failed}: refused over IPv6 and not retried over IPv4",
                "Client {client}: authenticate your mail, or retry refused mail over IPv4",
            ),
        }
    }
}

impl Default for Texts {
    fn default() -> Self {
        Texts::standard(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: TextValues<'_> =
        TextValues { failed: "SPF=none", client: "2001:db8::1", prefix: "2001:db8::/64", url: "https://a.example/" };

    #[test]
    fn fills_placeholders() {
        let template = Template::parse("{failed}: {client} in {prefix}, see {url}", Some(VALUES.url)).expect("valid");
        assert_eq!(template.fill(&VALUES), "SPF=none: 2001:db8::1 in 2001:db8::/64, see https://a.example/");
        assert!(template.names_prefix());
        assert!(!Template::parse("prefix: {failed}, {client}", None).expect("valid").names_prefix());
    }

    #[test]
    fn rejects_what_would_not_make_a_line() {
        let error = |text: &str| Template::parse(text, None).expect_err(text);
        assert_eq!(error("  "), TemplateError::Empty);
        assert_eq!(error("a\r\n250 OK"), TemplateError::NotAscii('\r'));
        assert_eq!(error("grüße"), TemplateError::NotAscii('ü'));
        assert_eq!(error("{clinet}"), TemplateError::Placeholder(Some("clinet".into())));
        assert_eq!(error("{client"), TemplateError::Placeholder(None));
        assert_eq!(error("client}"), TemplateError::Placeholder(None));
        assert_eq!(error("{url}"), TemplateError::NoUrl);
    }

    #[test]
    fn a_line_fits_512_octets_whatever_is_put_in() {
        let text = format!("{{prefix}}{}", "x".repeat(MAX_TEXT - MAX_PREFIX));
        assert!(Template::parse(&text, None).is_ok());
        assert_eq!(Template::parse(&format!("{text}x"), None), Err(TemplateError::TooLong(MAX_TEXT + 1)));
    }
}
