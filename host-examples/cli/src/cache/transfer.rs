//! `cache export` and `cache import`: records as lines of JSON.

use std::fs;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde::{Deserialize, Serialize};
use smtp_fallback_policy::contract::{RecordUpdate, StoredRecord};
use smtp_fallback_policy::inspect;
use smtp_fallback_store::control::JsonKey;
use smtp_fallback_store::{Listed, MAX_VALUE_OCTETS, Swap};

use super::whole_file::WholeFile;
use crate::fail::Fail;
use crate::host::Host;
use crate::output::{json_line, remark};
use crate::target::wrong_key;
use crate::time::now;
use crate::weight::weight_of;

const FORMAT: &str = "smtp-fallback-records";
const VERSION: u32 = 1;

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct File {
    /// The file; - for the standard output. One that is there is not written over
    #[arg(value_name = "FILE")]
    name: String,
}

/// Where from.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file; - for the standard input
    #[arg(value_name = "FILE")]
    name: String,
    /// Write over records that are there
    #[arg(long)]
    replace: bool,
}

/// The first line.
#[derive(Debug, Deserialize, Serialize)]
struct Header {
    format: String,
    version: u32,
}

/// One record.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Line {
    key: JsonKey,
    /// In base64.
    value: String,
    /// Seconds since 1970.
    expires_at: u64,
    /// 0 where the store does not keep weights.
    weight: u32,
    /// What the value says, for readers; not read.
    #[serde(default)]
    shows: serde_json::Value,
}

impl Line {
    pub(super) fn of(listed: &Listed) -> Line {
        let Listed { record, expires_at, weight } = listed;
        let shows = inspect(record).ok().and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        let value = BASE64_STANDARD.encode(&record.value);
        Line { key: JsonKey(record.key), value, expires_at: *expires_at, weight: *weight, shows }
    }

    fn listed(self) -> Result<Listed, String> {
        let value = BASE64_STANDARD.decode(&self.value).map_err(|error| format!("value: {error}, expected base64"))?;
        if value.len() > MAX_VALUE_OCTETS {
            return Err(format!("value: found {} octets, expected at most {MAX_VALUE_OCTETS}", value.len()));
        }
        let record = StoredRecord { key: self.key.0, value };
        if let Some(wrong) = wrong_key(&record.key) {
            return Err(wrong);
        }
        // What the policy cannot read would be a record for nobody.
        inspect(&record).map_err(|error| format!("value: {error}"))?;
        // Without its weight an operator's exemption would be the first to go from a full store.
        let weight = if self.weight == 0 { weight_of(&record) } else { self.weight };
        Ok(Listed { record, expires_at: self.expires_at, weight })
    }
}

pub(super) async fn export(File { name }: File, host: &Host) -> Result<(), Fail> {
    let is_output = name == "-";
    let name = if is_output { "the standard output" } else { &name };
    let (count, foreign) = if is_output {
        write(&mut io::stdout().lock(), name, host).await?
    } else {
        let failed = |error| Fail::file("write", name, error);
        let (whole, mut file) = WholeFile::create(Path::new(name)).map_err(failed)?;
        let written = write(&mut file, name, host).await?;
        whole.finish(&file).map_err(failed)?;
        written
    };
    remark(&format!("{count} records written to {name}"));
    if foreign > 0 {
        remark(&format!("{foreign} were left out: their octets are no records of this version"));
    }
    Ok(())
}

/// Writes all records; how many those were, and how many were left out.
async fn write(out: &mut impl io::Write, name: &str, host: &Host) -> Result<(u64, u64), Fail> {
    let mut out = BufWriter::new(out);
    let failed = |error| Fail::file("write", name, error);
    let header = Header { format: FORMAT.to_owned(), version: VERSION };
    writeln!(out, "{}", json_line(&header)).map_err(failed)?;
    let (mut count, mut foreign) = (0, 0);
    host.scan(|listed| {
        // What the policy cannot read is a record for nobody.
        if inspect(&listed.record).is_err() {
            foreign += 1;
            return Ok(true);
        }
        count += 1;
        writeln!(out, "{}", json_line(&Line::of(&listed))).map_err(failed)?;
        Ok(true)
    })
    .await?;
    out.flush().map_err(failed)?;
    Ok((count, foreign))
}

/// The records of a file; an error names the line.
pub(super) fn read(options: &Import) -> Result<Vec<Listed>, Fail> {
    let mut text = String::new();
    let failed = |error| Fail::file("read", &options.name, error);
    if options.name == "-" {
        io::stdin().lock().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = fs::read_to_string(&options.name).map_err(failed)?;
    }
    let wrong =
        |number: usize, what: String| Fail::Other(format!("{}, line {number}: {what}; nothing was imported", options.name));
    let mut lines = (1..).zip(text.lines());
    let header = lines.next().and_then(|(_, line)| serde_json::from_str::<Header>(line).ok());
    match header {
        Some(Header { format, version: VERSION }) if format == FORMAT => {}
        Some(Header { format, version }) if format == FORMAT => {
            return Err(wrong(
                1,
                format!("found version {version}, expected {VERSION}: it was written by another version of this program"),
            ));
        }
        _ => return Err(wrong(1, "found no header, expected a file that `cache export` wrote".to_owned())),
    }
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            let line: Line = serde_json::from_str(line).map_err(|error| wrong(number, without_place(&error)))?;
            line.listed().map_err(|error| wrong(number, error))
        })
        .collect()
}

/// What is wrong with the JSON of a line; where in that line is left out, since it would pass for a place in the file.
fn without_place(error: &serde_json::Error) -> String {
    let error = error.to_string();
    error.rsplit_once(" at line ").map_or(error.as_str(), |(what, _)| what).to_owned()
}

pub(super) async fn import(options: Import, records: Vec<Listed>, host: &Host) -> Result<(), Fail> {
    let (mut imported, mut there, mut expired) = (0, 0, 0);
    let mut outcome = Ok(());
    for Listed { record, expires_at, weight } in records {
        let now = now();
        let Some(left) = expires_at.checked_sub(now).filter(|left| *left > 0) else {
            expired += 1;
            continue;
        };
        let expires_in = u32::try_from(left).unwrap_or(u32::MAX);
        let update = RecordUpdate { key: record.key, value: record.value, expires_in, weight };
        let stored = if options.replace {
            host.change(update.key, |_, _| Ok(Some(update.clone()))).await.map(|done| done.is_some())
        } else {
            host.swap(None, &update, now).await.map(|swap| swap == Swap::Stored)
        };
        match stored {
            Ok(true) => imported += 1,
            Ok(false) => there += 1,
            Err(error) => {
                // How far it came is said all the same.
                outcome = Err(error);
                break;
            }
        }
    }
    remark(&format!("{imported} records imported, {there} were there already, {expired} had expired"));
    outcome
}
