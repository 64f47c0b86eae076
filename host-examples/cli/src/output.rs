//! Writing to the standard output and error.

use std::io::{self, BufWriter, StdoutLock, Write as _};

use serde::Serialize;

use crate::fail::Fail;
use crate::text::{escape, escape_json};

/// The standard output. A pipe that is closed ends the command.
pub(crate) struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    pub(crate) fn new() -> Self {
        Output(BufWriter::new(io::stdout().lock()))
    }

    /// A line. What a client chose in it is escaped by whoever makes it; what is left is escaped here.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Fail> {
        writeln!(self.0, "{}", escape(line.trim_end())).map_err(failed)
    }

    /// JSON on one line.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Fail> {
        writeln!(self.0, "{}", json_line(value)).map_err(failed)
    }

    /// To be called at the end: what is not written would be lost without a word.
    pub(crate) fn finish(mut self) -> Result<(), Fail> {
        self.0.flush().map_err(failed)
    }
}

/// JSON on one line, harmless on a terminal.
pub(crate) fn json_line(value: &impl Serialize) -> String {
    escape_json(&serde_json::to_string(value).expect("what is shown has text keys only"))
}

fn failed(error: io::Error) -> Fail {
    Fail::file("write to", "the standard output", error)
}

/// Says something to the person, beside the output.
pub(crate) fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{}", escape(text));
}

/// Says what went wrong.
pub(crate) fn complain(text: &str) {
    for line in text.lines() {
        remark(&format!("smtp-fallback: {line}"));
    }
}
