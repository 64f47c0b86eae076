//! A second reading of Authentication-Results, made to be simple: it goes over a field several times, and knows what must be there for a pass.

/// A field without its comments, its folding and the white space around its words: texts, and single characters that mean something.
pub(super) struct Field(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// A word, or what stood in quotes.
    Text(String),
    Sign(char),
    Space,
}

impl Field {
    /// `None` where quotes or parentheses do not close.
    pub(super) fn read(text: &str) -> Option<Field> {
        let mut parts: Vec<Part> = Vec::new();
        let (mut depth, mut quoted, mut escaped) = (0, false, false);
        for c in text.chars() {
            match c {
                _ if depth == 0 && quoted && (escaped || !matches!(c, '"' | '\\')) => {
                    escaped = false;
                    if !matches!(c, '\r' | '\n') {
                        match parts.last_mut() {
                            Some(Part::Text(text)) => text.push(c),
                            _ => parts.push(Part::Text(c.into())),
                        }
                    }
                }
                _ if escaped => escaped = false,
                '\\' if quoted || depth > 0 => escaped = true,
                '"' if depth == 0 => {
                    quoted = !quoted;
                    if quoted {
                        parts.push(Part::Text(String::new()));
                    }
                }
                '(' => {
                    depth += 1;
                    parts.push(Part::Space);
                }
                ')' if depth > 0 => depth -= 1,
                _ if depth > 0 => {}
                ' ' | '\t' | '\r' | '\n' => parts.push(Part::Space),
                ';' | '=' | '/' | '.' | ':' => parts.push(Part::Sign(c)),
                _ => match parts.last_mut() {
                    Some(Part::Text(text)) => text.push(c),
                    _ => parts.push(Part::Text(c.into())),
                },
            }
        }
        (depth == 0 && !quoted).then_some(Field(parts))
    }

    /// Its parts between semicolons, without white space, in lower case: the first is the id, the others are results.
    fn sections(&self) -> Vec<String> {
        let sections = self.0.split(|part| *part == Part::Sign(';'));
        let text = |part: &Part| match part {
            Part::Text(text) => text.to_ascii_lowercase(),
            Part::Sign(sign) => sign.to_string(),
            Part::Space => String::new(),
        };
        sections.map(|section| section.iter().map(text).collect()).collect()
    }

    /// Whether it begins with this id, which is in lower case.
    pub(super) fn is_of(&self, id: &str) -> bool {
        let sections = self.sections();
        let head = &sections[0];
        let head = head.strip_prefix("authentication-results:").unwrap_or(head);
        head == id || head.strip_prefix(id) == Some("1")
    }

    /// Whether this text, which is in lower case, stands in one of its results.
    pub(super) fn names(&self, text: &str) -> bool {
        self.sections()[1..].iter().any(|section| {
            let rest = section.strip_prefix("arc").unwrap_or_default();
            rest.starts_with(['=', '/']) && rest.split_once("arc.chain=").is_some_and(|(_, chain)| chain.contains(text))
        })
    }

    /// Whether one of its results says that this method passed, and names this domain.
    pub(super) fn passes(&self, method: &str, domain: &str) -> bool {
        self.sections()[1..].iter().any(|section| {
            let rest = section.strip_prefix(method).unwrap_or_default();
            let rest = rest.strip_prefix("/1").unwrap_or(rest);
            rest.strip_prefix("=pass").is_some_and(|properties| properties.contains(domain))
        })
    }
}

/// The text with nothing in its comments. Of a text whose parentheses and quotes close.
pub(super) fn with_empty_comments(text: &str) -> String {
    let mut kept = String::new();
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for c in text.chars() {
        let is_outside = depth == 0;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted || depth > 0 => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if depth > 0 => depth -= 1,
            _ => {}
        }
        if is_outside || depth == 0 {
            kept.push(c);
        }
    }
    kept
}
