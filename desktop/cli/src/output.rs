//! The standard output, as text or as JSON.

use std::io::{self, Write};

use serde::Serialize;

/// Prints `value` as JSON on one line, or `text` of it.
pub(crate) fn print<T: Serialize + ?Sized>(
    json: bool,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> io::Result<()> {
    let line = if json { serde_json::to_string(value)? } else { text(value) };
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

/// Prints that something was done.
pub(crate) fn success(json: bool) -> io::Result<()> {
    print(json, &serde_json::json!({ "result": "success" }), |_| "Success".to_owned())
}
