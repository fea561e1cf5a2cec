//! Devices in the store, and the addresses they are given.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use weft_model::PublicKey;

use super::{Store, StoreError, TokenHash, key_of, tokens};
use crate::addresses::Slot;

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its identifier: 32 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its system.
    pub os: String,
    /// Its client's version.
    pub version: String,
    /// Its tunnel key.
    pub key: PublicKey,
    /// Its credential; none for a device that was set up by hand.
    pub token: Option<TokenHash>,
    /// Its place in the address ranges.
    pub slot: Slot,
    /// The profile it has; none = the default.
    pub profile: Option<String>,
    /// When it was registered.
    pub created: i64,
    /// When it was last heard of.
    pub last_seen: Option<i64>,
    /// When it was revoked.
    pub revoked: Option<i64>,
}

/// What is known of a device that is to be added.
#[derive(Debug, Clone)]
pub struct NewDevice<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its system.
    pub os: &'a str,
    /// Its client's version.
    pub version: &'a str,
    /// Its tunnel key.
    pub key: PublicKey,
    /// Its credential; none for a device that is set up by hand.
    pub token: Option<TokenHash>,
}

const COLUMNS: &str = "id, name, os, version, key, token_hash, slot, profile, created, last_seen, revoked";

impl Store {
    /// Registers a device by an enrolment token, which is used once. All or nothing.
    ///
    /// # Errors
    /// [`StoreError::BadToken`], [`StoreError::TokenSpent`], [`StoreError::TokenExpired`],
    /// [`StoreError::KeyInUse`], [`StoreError::Full`].
    pub fn register(
        &mut self,
        enrolment: &TokenHash,
        device: &NewDevice<'_>,
        now: i64,
    ) -> Result<Device, StoreError> {
        let last_slot = self.last_slot;
        let transaction = self.write()?;
        let profile = tokens::spend(&transaction, enrolment, now)?;
        let device = insert(&transaction, device, profile, last_slot, now)?;
        transaction.commit()?;
        Ok(device)
    }

    /// Adds a device without an enrolment token.
    ///
    /// # Errors
    /// [`StoreError::KeyInUse`], [`StoreError::Full`], [`StoreError::NoProfile`].
    pub fn add_device(
        &mut self,
        device: &NewDevice<'_>,
        profile: Option<&str>,
        now: i64,
    ) -> Result<Device, StoreError> {
        let last_slot = self.last_slot;
        let transaction = self.write()?;
        super::profiles::require(&transaction, profile)?;
        let device = insert(&transaction, device, profile.map(str::to_owned), last_slot, now)?;
        transaction.commit()?;
        Ok(device)
    }

    /// Every device, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Sqlite`].
    pub fn devices(&self) -> Result<Vec<Device>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM devices ORDER BY created, slot");
        let mut statement = self.connection.prepare_cached(&query)?;
        let mut rows = statement.query([])?;
        let mut devices = Vec::new();
        while let Some(row) = rows.next()? {
            devices.push(read(row)?);
        }
        Ok(devices)
    }

    /// The device whose identifier is `id`, or the only one whose identifier begins so (4 characters and more).
    ///
    /// # Errors
    /// [`StoreError::NoDevice`], [`StoreError::Ambiguous`].
    pub fn find_device(&self, id: &str) -> Result<Device, StoreError> {
        let missing = || StoreError::NoDevice(id.chars().take(32).collect());
        if id.len() < 4 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let query = format!("SELECT {COLUMNS} FROM devices WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2");
        let mut statement = self.connection.prepare_cached(&query)?;
        let mut rows = statement.query([id.to_ascii_lowercase()])?;
        let Some(device) = rows.next()?.map(read).transpose()? else { return Err(missing()) };
        match rows.next()? {
            Some(_) => Err(StoreError::Ambiguous(id.to_owned())),
            None => Ok(device),
        }
    }

    /// Gives a device another tunnel key.
    ///
    /// # Errors
    /// [`StoreError::NoDevice`], [`StoreError::KeyInUse`].
    pub fn rotate_key(&mut self, id: &str, key: PublicKey) -> Result<(), StoreError> {
        let transaction = self.write()?;
        let owner = owner_of(&transaction, key)?;
        if owner.is_some_and(|owner| owner != id) {
            return Err(StoreError::KeyInUse);
        }
        let changed = transaction
            .execute("UPDATE devices SET key = ?2 WHERE id = ?1", params![id, key.as_bytes().as_slice()])?;
        if changed == 0 {
            return Err(StoreError::NoDevice(id.to_owned()));
        }
        transaction.commit()?;
        Ok(())
    }

    /// Revokes a device: its credential and its key hold no longer, its address stays taken.
    ///
    /// # Errors
    /// [`StoreError::NoDevice`].
    pub fn revoke_device(&mut self, id: &str, now: i64) -> Result<(), StoreError> {
        let changed = self
            .connection
            .execute("UPDATE devices SET revoked = COALESCE(revoked, ?2) WHERE id = ?1", params![id, now])?;
        if changed == 0 { Err(StoreError::NoDevice(id.to_owned())) } else { Ok(()) }
    }

    /// Forgets a device; its address may be given to another.
    ///
    /// # Errors
    /// [`StoreError::NoDevice`].
    pub fn delete_device(&mut self, id: &str) -> Result<(), StoreError> {
        let transaction = self.write()?;
        let slot: Option<u32> = transaction
            .query_row("DELETE FROM devices WHERE id = ?1 RETURNING slot", [id], |row| row.get(0))
            .optional()?;
        let Some(slot) = slot else { return Err(StoreError::NoDevice(id.to_owned())) };
        transaction.execute("INSERT INTO free_slots (slot) VALUES (?1)", [slot])?;
        transaction.commit()?;
        Ok(())
    }

    /// Notes when devices were last heard of. A moment before the one that is noted changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn note_seen(&mut self, seen: &[(String, i64)]) -> Result<(), StoreError> {
        let transaction = self.write()?;
        for (id, moment) in seen {
            transaction.execute(
                "UPDATE devices SET last_seen = MAX(COALESCE(last_seen, 0), ?2) WHERE id = ?1",
                params![id, moment],
            )?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Lowers the number of addresses, so that a test can run out of them.
    #[cfg(test)]
    pub(super) fn limit_slots(&mut self, last: u32) {
        self.last_slot = last;
    }
}

fn insert(
    transaction: &Transaction<'_>,
    new: &NewDevice<'_>,
    profile: Option<String>,
    last_slot: u32,
    now: i64,
) -> Result<Device, StoreError> {
    if owner_of(transaction, new.key)?.is_some() {
        return Err(StoreError::KeyInUse);
    }
    let device = Device {
        id: new_id()?,
        name: new.name.to_owned(),
        os: new.os.to_owned(),
        version: new.version.to_owned(),
        key: new.key,
        token: new.token,
        slot: take_slot(transaction, last_slot)?,
        profile,
        created: now,
        last_seen: None,
        revoked: None,
    };
    transaction.execute(
        "INSERT INTO devices (id, name, os, version, key, token_hash, slot, profile, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            device.id,
            device.name,
            device.os,
            device.version,
            device.key.as_bytes().as_slice(),
            device.token.as_ref().map(TokenHash::bytes),
            device.slot.number(),
            device.profile,
            device.created,
        ],
    )?;
    Ok(device)
}

/// A slot that no device ever had, or else the one that has been free for longest: what still talks to a former
/// device is not to reach a new one.
fn take_slot(transaction: &Transaction<'_>, last_slot: u32) -> Result<Slot, StoreError> {
    let damaged = || StoreError::Damaged("an address");
    let next: u32 = transaction.query_row("SELECT slot FROM next_slot", [], |row| row.get(0))?;
    if next <= last_slot {
        transaction.execute("UPDATE next_slot SET slot = slot + 1", [])?;
        return Slot::new(next).ok_or_else(damaged);
    }
    let freed: Option<u32> = transaction
        .query_row(
            "DELETE FROM free_slots WHERE freed = (SELECT MIN(freed) FROM free_slots) RETURNING slot",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Slot::new(freed.ok_or(StoreError::Full)?).ok_or_else(damaged)
}

fn owner_of(transaction: &Transaction<'_>, key: PublicKey) -> Result<Option<String>, StoreError> {
    Ok(transaction
        .query_row("SELECT id FROM devices WHERE key = ?1", [key.as_bytes().as_slice()], |row| row.get(0))
        .optional()?)
}

fn new_id() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

fn read(row: &Row<'_>) -> Result<Device, StoreError> {
    let token: Option<Vec<u8>> = row.get("token_hash")?;
    Ok(Device {
        id: row.get("id")?,
        name: row.get("name")?,
        os: row.get("os")?,
        version: row.get("version")?,
        key: key_of(&row.get::<_, Vec<u8>>("key")?)?,
        token: token
            .map(|hash| TokenHash::from_bytes(&hash).ok_or(StoreError::Damaged("a device's credential")))
            .transpose()?,
        slot: Slot::new(row.get("slot")?).ok_or(StoreError::Damaged("a device's address"))?,
        profile: row.get("profile")?,
        created: row.get("created")?,
        last_seen: row.get("last_seen")?,
        revoked: row.get("revoked")?,
    })
}
