//! Profiles in the store. Exactly one of them is the default.

use rusqlite::{OptionalExtension, Transaction, params};
use weft_model::Profile;

use super::{Store, StoreError};

/// The name of the profile that a new store holds.
pub const DEFAULT_PROFILE: &str = "Default";

/// A profile under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedProfile {
    /// The name.
    pub name: String,
    /// Whether devices that match no other get it.
    pub is_default: bool,
    /// The profile.
    pub profile: Profile,
}

impl Store {
    /// Puts a profile in the place of the one of the same name, or adds it. One without a name takes the place
    /// of the default. A profile that says it is the default becomes it; the default stays it until then.
    ///
    /// # Errors
    /// [`StoreError::Profile`] where it is bad; nothing has changed then.
    pub fn set_profile(&mut self, mut profile: Profile) -> Result<NamedProfile, StoreError> {
        profile.validate()?;
        let transaction = self.write()?;
        let default = default_name(&transaction)?;
        if profile.name.is_empty() {
            profile.name.clone_from(&default);
        }
        profile.default = profile.default || profile.name == default;
        if profile.default {
            transaction.execute("UPDATE profiles SET is_default = 0", [])?;
        }
        put(&transaction, &profile)?;
        transaction.commit()?;
        Ok(NamedProfile { name: profile.name.clone(), is_default: profile.default, profile })
    }

    /// A profile by its name, or the default one.
    ///
    /// # Errors
    /// [`StoreError::NoProfile`].
    pub fn profile(&self, name: Option<&str>) -> Result<NamedProfile, StoreError> {
        let found = self.profiles()?.into_iter().find(|profile| match name {
            Some(name) => profile.name == name,
            None => profile.is_default,
        });
        found.ok_or_else(|| StoreError::NoProfile(name.unwrap_or(DEFAULT_PROFILE).to_owned()))
    }

    /// Every profile, by name.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Sqlite`].
    pub fn profiles(&self) -> Result<Vec<NamedProfile>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT name, json, is_default FROM profiles ORDER BY name")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?))
        })?;
        rows.map(|row| {
            let (name, json, is_default) = row?;
            let mut profile = Profile::from_json(&json).map_err(|_| StoreError::Damaged("a profile"))?;
            profile.default = is_default;
            Ok(NamedProfile { name, is_default, profile })
        })
        .collect()
    }
}

/// Puts the default profile into a new store.
pub(super) fn insert_default(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    put(transaction, &Profile { name: DEFAULT_PROFILE.to_owned(), default: true, ..Profile::default() })
}

/// Checks that a profile is there, where one is named.
pub(super) fn require(transaction: &Transaction<'_>, name: Option<&str>) -> Result<(), StoreError> {
    let Some(name) = name else { return Ok(()) };
    let found =
        transaction.query_row("SELECT 1 FROM profiles WHERE name = ?1", [name], |_| Ok(())).optional()?;
    found.ok_or_else(|| StoreError::NoProfile(name.to_owned()))
}

fn default_name(transaction: &Transaction<'_>) -> Result<String, StoreError> {
    transaction
        .query_row("SELECT name FROM profiles WHERE is_default", [], |row| row.get(0))
        .optional()?
        .ok_or(StoreError::Damaged("there is no default profile"))
}

fn put(transaction: &Transaction<'_>, profile: &Profile) -> Result<(), StoreError> {
    let json = serde_json::to_string(profile).map_err(|_| StoreError::Damaged("a profile"))?;
    transaction.execute(
        "INSERT INTO profiles (name, json, is_default) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET json = excluded.json, is_default = excluded.is_default",
        params![profile.name, json, profile.default],
    )?;
    Ok(())
}
