//! The bundle for a report of a problem: one JSON file, laid out so that a person can read it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use weft_ipc::{Diagnostics, RegistrationSummary};
use weft_model::{Settings, Stats, Status};

use crate::fault::Fault;
use crate::{output, render, time};

/// The bundle, in the order that a reader wants it.
#[derive(Serialize)]
struct Bundle<'a> {
    written: String,
    versions: BTreeMap<&'static str, &'a str>,
    status: &'a Status,
    settings: &'a Settings,
    stats: &'a Stats,
    registration: &'a Option<RegistrationSummary>,
    system: BTreeMap<&'a str, &'a [String]>,
    log: Vec<String>,
}

fn bundle(diagnostics: &Diagnostics, now_ms: u64) -> Bundle<'_> {
    Bundle {
        written: time::stamp(now_ms),
        versions: BTreeMap::from([
            ("weft", env!("CARGO_PKG_VERSION")),
            ("weftd", diagnostics.version.as_str()),
            ("system", diagnostics.system.as_str()),
        ]),
        status: &diagnostics.status,
        settings: &diagnostics.settings,
        stats: &diagnostics.stats,
        registration: &diagnostics.registration,
        system: diagnostics
            .sections
            .iter()
            .map(|section| (section.source.as_str(), section.lines.as_slice()))
            .collect(),
        log: diagnostics.log.iter().map(render::log_line).collect(),
    }
}

/// Writes the bundle to `output`, to the standard output where it is `-`, or to a file named after the time.
pub(crate) fn write(diagnostics: &Diagnostics, output: Option<PathBuf>, json: bool) -> Result<(), Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or_default();
    let mut text = serde_json::to_string_pretty(&bundle(diagnostics, now_ms)).map_err(io::Error::from)?;
    text.push('\n');
    let path = output.unwrap_or_else(|| format!("weft-diag-{}.json", time::file_stamp(now_ms)).into());
    if path == Path::new("-") {
        let mut output = io::stdout().lock();
        output.write_all(text.as_bytes())?;
        return Ok(output.flush()?);
    }
    write_file(&path, &text).map_err(|error| Fault::File { path: path.clone(), error })?;
    let shown = path.display().to_string();
    Ok(output::print(json, &serde_json::json!({ "file": shown }), |_| format!("Written to {shown}"))?)
}

/// The file is the user's alone: it holds addresses and names.
fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
