//! What has to be undone: written down, and safe on the disk, before each change of the system.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weft_platform::DnsRecord;

use crate::state::{StateDir, Stored};

/// The journal's file.
const FILE: &str = "journal.json";
/// Where DNS settings are kept that could not come back.
const FORMER: &str = "resolv.conf.former";

/// What of Weft's may be in the system.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Records {
    /// The firewall's table.
    #[serde(default)]
    pub(crate) firewall: bool,
    /// The tunnel interface and its addresses.
    #[serde(default)]
    pub(crate) interface: bool,
    /// Routes and rules.
    #[serde(default)]
    pub(crate) routes: bool,
    /// The addresses of the DNS proxy.
    #[serde(default)]
    pub(crate) proxy_addresses: bool,
    /// The system's DNS settings, and what they were before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dns: Option<DnsRecord>,
    /// DNS settings that could not be put back, since whoever keeps them did not run; one of each mode at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) owed_dns: Vec<DnsRecord>,
}

/// The records, and their file.
#[derive(Debug)]
pub(crate) struct Journal {
    state: StateDir,
    records: Records,
}

impl Journal {
    /// Reads the journal. One that is damaged is set aside, and the second value says so: what the DNS settings were
    /// is lost then, and everything else can be undone without a record.
    pub(crate) fn open(state: &StateDir) -> io::Result<(Self, Option<String>)> {
        let (records, trouble) = match state.read(FILE) {
            Stored::Read(records) => (records, None),
            Stored::Missing => (Records::default(), None),
            Stored::Unreadable(why) => {
                let aside = state.set_aside(FILE)?;
                (Records::default(), Some(format!("{why}; it is now {}", aside.display())))
            }
        };
        Ok((Self { state: state.clone(), records }, trouble))
    }

    /// What may be in the system now.
    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// Changes the records. When this returns, they are on the disk; where it fails, they are as they were.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut Records)) -> io::Result<()> {
        let mut records = self.records.clone();
        change(&mut records);
        if records == self.records {
            return Ok(());
        }
        if records == Records::default() {
            self.state.remove(FILE)?;
        } else {
            self.state.write(FILE, &records)?;
        }
        self.records = records;
        Ok(())
    }

    /// Keeps the file of resolvers of before Weft for people, in a file beside the journal. Returns where it is; none
    /// where there was none.
    pub(crate) fn keep_former(&self, former: Option<Vec<u8>>) -> io::Result<Option<PathBuf>> {
        let Some(text) = former else { return Ok(None) };
        self.state.write_bytes(FORMER, &text)?;
        Ok(Some(self.state.path(FORMER)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_on_the_disk_before_update_returns() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let (mut journal, trouble) = Journal::open(&state).unwrap();
        assert_eq!(trouble, None);
        journal.update(|records| records.routes = true).unwrap();
        assert_eq!(
            Journal::open(&state).unwrap().0.records(),
            &Records { routes: true, ..Records::default() }
        );
        journal.update(|records| records.routes = false).unwrap();
        assert!(!state.path(FILE).exists());
    }

    #[test]
    fn a_damaged_journal_is_set_aside_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        std::fs::write(state.path(FILE), "{\"routes\":1}").unwrap();
        let (journal, trouble) = Journal::open(&state).unwrap();
        assert_eq!(journal.records(), &Records::default());
        assert!(trouble.unwrap().contains("journal.json.bad"));
        assert!(state.path("journal.json.bad").exists());
    }

    #[test]
    fn records_that_could_not_be_written_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        let (mut journal, _) = Journal::open(&state).unwrap();
        std::fs::remove_dir(folder.path().join("state")).unwrap();
        assert!(journal.update(|records| records.routes = true).is_err());
        assert_eq!(journal.records(), &Records::default());
    }
}
