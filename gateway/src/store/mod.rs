//! The store: devices, enrolment tokens and profiles in one SQLite file.
//!
//! Server and command line open the same file. Every change is one transaction; the moment is always the
//! caller's, in seconds since the Unix epoch. Of a token only its SHA-256 is kept.

mod devices;
mod profiles;
mod tokens;

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use weft_model::{KeyError, ProfileError, PublicKey};

pub use devices::{Device, NewDevice};
pub use profiles::{DEFAULT_PROFILE, NamedProfile};
pub use tokens::{TokenHash, TokenSummary, new_device_token, new_enrolment_token};

use crate::addresses::Slot;

/// How long a writer waits for another.
const BUSY: Duration = Duration::from_secs(5);
/// The shape of the tables below.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE profiles (
    name        TEXT PRIMARY KEY,
    json        TEXT NOT NULL,
    is_default  INTEGER NOT NULL
) STRICT;
CREATE TABLE devices (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    os          TEXT NOT NULL,
    version     TEXT NOT NULL,
    key         BLOB NOT NULL UNIQUE,
    token_hash  BLOB UNIQUE,
    slot        INTEGER NOT NULL UNIQUE,
    profile     TEXT REFERENCES profiles (name),
    created     INTEGER NOT NULL,
    last_seen   INTEGER,
    revoked     INTEGER
) STRICT;
CREATE TABLE enrolment_tokens (
    hash        BLOB PRIMARY KEY,
    uses_left   INTEGER NOT NULL,
    expires     INTEGER,
    profile     TEXT REFERENCES profiles (name),
    created     INTEGER NOT NULL
) STRICT;
CREATE TABLE free_slots (
    freed       INTEGER PRIMARY KEY AUTOINCREMENT,
    slot        INTEGER NOT NULL UNIQUE
) STRICT;
CREATE TABLE next_slot (
    slot        INTEGER NOT NULL
) STRICT;
";

/// Why the store did not do what was asked. One line.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("the store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The system refused.
    #[error("the store: {0}")]
    Io(#[from] std::io::Error),
    /// Another version wrote the file.
    #[error("the store has version {0}; this program knows version {SCHEMA_VERSION}")]
    Version(i64),
    /// A row holds what it should not.
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
    /// There is no such device.
    #[error("no device {0}")]
    NoDevice(String),
    /// Several devices begin so.
    #[error("several devices begin with {0}: give more of the identifier")]
    Ambiguous(String),
    /// There is no such profile.
    #[error("no profile \"{0}\"")]
    NoProfile(String),
    /// The key belongs to a device already.
    #[error("another device has this key")]
    KeyInUse,
    /// Every address is given away.
    #[error("no address is left: delete devices that are no longer used")]
    Full,
    /// No such enrolment token.
    #[error("the enrolment token is not valid")]
    BadToken,
    /// The enrolment token has no uses left.
    #[error("the enrolment token has been used up")]
    TokenSpent,
    /// The enrolment token is too old.
    #[error("the enrolment token has expired")]
    TokenExpired,
    /// A profile is bad.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// The store. One per thread or behind a lock.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    /// The highest slot that is given away.
    last_slot: u32,
}

impl Store {
    /// Makes a new store, mode 0600, with the default profile in it.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the file exists or cannot be made.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        // SQLite gives its journal files the mode of the database.
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        Self::prepare(connection, true)
    }

    /// Opens a store.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`] where it is missing or damaged, [`StoreError::Version`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::prepare(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?, false)
    }

    /// A new store in memory.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(Connection::open_in_memory()?, true)
    }

    fn prepare(connection: Connection, new: bool) -> Result<Self, StoreError> {
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let mut store = Self { connection, last_slot: Slot::LAST };
        if new {
            store.fill()?;
        }
        let version = store.connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version != SCHEMA_VERSION {
            return Err(StoreError::Version(version));
        }
        Ok(store)
    }

    fn fill(&mut self) -> Result<(), StoreError> {
        let transaction = self.write()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.execute("INSERT INTO next_slot VALUES (?1)", [Slot::FIRST])?;
        profiles::insert_default(&transaction)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
        Ok(())
    }

    /// A transaction that nobody can come in between of.
    fn write(&mut self) -> Result<rusqlite::Transaction<'_>, StoreError> {
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// A number that differs after another process has written.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn foreign_changes(&self) -> Result<i64, StoreError> {
        Ok(self.connection.pragma_query_value(None, "data_version", |row| row.get(0))?)
    }
}

fn key_of(bytes: &[u8]) -> Result<PublicKey, StoreError> {
    let bytes: [u8; 32] =
        bytes.try_into().map_err(|_| KeyError).map_err(|_| StoreError::Damaged("a device's key"))?;
    Ok(PublicKey::from(bytes))
}

#[cfg(test)]
mod tests;
