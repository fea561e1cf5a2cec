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

/// Prints that something was done, and what the user should know of it.
pub(crate) fn success(json: bool, notes: &[String]) -> io::Result<()> {
    let value = match notes {
        [] => serde_json::json!({ "result": "success" }),
        notes => serde_json::json!({ "result": "success", "notes": notes }),
    };
    print(json, &value, |_| {
        notes.iter().fold("Success".to_owned(), |text, note| format!("{text}\nNote: {note}"))
    })
}

/// Says what is worth knowing on the error output, beside what is asked for.
pub(crate) fn note(json: bool, note: &str) {
    if json {
        eprintln!("{}", serde_json::json!({ "note": note }));
    } else {
        eprintln!("weft: {note}");
    }
}
