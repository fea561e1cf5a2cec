//! Tokens: how they are made, what is kept of them, and enrolment tokens in the store.

use std::fmt;
use std::hash::{Hash, Hasher};

use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{OptionalExtension, Transaction, params};
use weft_model::Secret;
use zeroize::Zeroizing;

use super::{Store, StoreError};

/// Spent and expired tokens are forgotten after this many seconds.
const KEPT: i64 = 30 * 24 * 3600;

/// The SHA-256 of a token: all that is kept of it. A token has 256 random bits, so nothing slower is needed.
#[derive(Clone, Copy, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token's text.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// In constant time.
impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

fn new_token(prefix: &str) -> Result<Secret, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())?;
    let mut text = prefix.to_owned();
    // Room first: a growing text would leave copies of itself behind.
    text.reserve_exact(44);
    URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
    Ok(Secret::from(text))
}

/// A new enrolment token: "weft-e-" and 43 characters.
///
/// # Errors
/// Where the system has no random numbers.
pub fn new_enrolment_token() -> Result<Secret, getrandom::Error> {
    new_token("weft-e-")
}

/// A new device token: "weft-d-" and 43 characters.
///
/// # Errors
/// Where the system has no random numbers.
pub fn new_device_token() -> Result<Secret, getrandom::Error> {
    new_token("weft-d-")
}

/// What is known of enrolment tokens as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenSummary {
    /// Tokens that can still be used.
    pub usable: u64,
}

impl Store {
    /// Keeps a new enrolment token for `uses` devices, valid to `expires`, which get the profile named.
    ///
    /// # Errors
    /// [`StoreError::NoProfile`], [`StoreError::Sqlite`].
    pub fn add_enrolment_token(
        &mut self,
        token: &TokenHash,
        uses: u32,
        expires: Option<i64>,
        profile: Option<&str>,
        now: i64,
    ) -> Result<(), StoreError> {
        let transaction = self.write()?;
        super::profiles::require(&transaction, profile)?;
        transaction.execute(
            "DELETE FROM enrolment_tokens WHERE (uses_left = 0 AND created < ?1) OR expires < ?1",
            [now - KEPT],
        )?;
        transaction.execute(
            "INSERT INTO enrolment_tokens (hash, uses_left, expires, profile, created) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![token.bytes(), uses, expires, profile, now],
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// How many enrolment tokens there are.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn token_summary(&self, now: i64) -> Result<TokenSummary, StoreError> {
        let usable = self.connection.query_row(
            "SELECT COUNT(*) FROM enrolment_tokens WHERE uses_left > 0 AND (expires IS NULL OR expires > ?1)",
            [now],
            |row| row.get::<_, i64>(0),
        )?;
        Ok(TokenSummary { usable: usable.unsigned_abs() })
    }
}

/// Uses an enrolment token once; gives the profile it was made for.
pub(super) fn spend(
    transaction: &Transaction<'_>,
    token: &TokenHash,
    now: i64,
) -> Result<Option<String>, StoreError> {
    let row = transaction
        .query_row(
            "SELECT hash, uses_left, expires, profile FROM enrolment_tokens WHERE hash = ?1",
            [token.bytes()],
            |row| {
                Ok((
                    row.get::<_, Vec<u8>>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, Option<i64>>(2)?,
                    row.get::<_, Option<String>>(3)?,
                ))
            },
        )
        .optional()?;
    let Some((hash, uses_left, expires, profile)) = row else { return Err(StoreError::BadToken) };
    if TokenHash::from_bytes(&hash).as_ref() != Some(token) {
        return Err(StoreError::BadToken);
    }
    if expires.is_some_and(|expires| expires <= now) {
        return Err(StoreError::TokenExpired);
    }
    if uses_left < 1 {
        return Err(StoreError::TokenSpent);
    }
    transaction
        .execute("UPDATE enrolment_tokens SET uses_left = uses_left - 1 WHERE hash = ?1", [token.bytes()])?;
    Ok(profile)
}
