//! The devices as the running server sees them: the store behind a lock, and a snapshot for everything that has
//! to be quick.
//!
//! Every change goes through here, so that the snapshot and whoever follows it (the tunnel) are in step with the
//! store by the time a change is answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use weft_model::{Profile, PublicKey};

use crate::addresses::Slot;
use crate::store::{Device, NewDevice, Store, StoreError, TokenHash};

/// The devices and profiles at one moment.
#[derive(Debug, Default)]
pub struct Directory {
    devices: Vec<Arc<Device>>,
    by_slot: HashMap<Slot, Arc<Device>>,
    by_token: HashMap<TokenHash, Arc<Device>>,
    profiles: HashMap<String, Arc<Profile>>,
    default_profile: String,
}

impl Directory {
    fn read(store: &Store) -> Result<Self, StoreError> {
        let mut directory = Self::default();
        for profile in store.profiles()? {
            if profile.is_default {
                directory.default_profile.clone_from(&profile.name);
            }
            directory.profiles.insert(profile.name, Arc::new(profile.profile));
        }
        for device in store.devices()? {
            let device = Arc::new(device);
            if device.revoked.is_none() {
                directory.by_slot.insert(device.slot, Arc::clone(&device));
            }
            if let Some(token) = device.token {
                directory.by_token.insert(token, Arc::clone(&device));
            }
            directory.devices.push(device);
        }
        Ok(directory)
    }

    /// Every device, the revoked ones too.
    #[must_use]
    pub fn devices(&self) -> &[Arc<Device>] {
        &self.devices
    }

    /// The devices that may use the gateway.
    pub fn active(&self) -> impl Iterator<Item = &Arc<Device>> {
        self.devices.iter().filter(|device| device.revoked.is_none())
    }

    /// The device that may use this inner address.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Option<&Arc<Device>> {
        self.by_slot.get(&Slot::of(address)?)
    }

    /// The device with this credential, revoked or not.
    #[must_use]
    pub fn with_token(&self, token: &TokenHash) -> Option<&Arc<Device>> {
        self.by_token.get(token)
    }

    /// The name of the profile that a device has.
    #[must_use]
    pub fn profile_name<'a>(&'a self, device: &'a Device) -> &'a str {
        device.profile.as_deref().unwrap_or(&self.default_profile)
    }

    /// The profile that a device has.
    #[must_use]
    pub fn profile(&self, device: &Device) -> Option<&Arc<Profile>> {
        self.profiles.get(self.profile_name(device))
    }
}

/// Is told of every new snapshot, in order.
pub type Follower = Box<dyn Fn(&Arc<Directory>) + Send + Sync>;

/// The store and its snapshot.
pub struct Registry {
    store: Mutex<Store>,
    directory: ArcSwap<Directory>,
    follower: OnceLock<Follower>,
    seen: Mutex<HashMap<String, i64>>,
}

impl Registry {
    /// Reads the store once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn new(store: Store) -> Result<Self, StoreError> {
        let directory = ArcSwap::from_pointee(Directory::read(&store)?);
        Ok(Self {
            store: Mutex::new(store),
            directory,
            follower: OnceLock::new(),
            seen: Mutex::new(HashMap::new()),
        })
    }

    /// Sets who follows the snapshots, once, and tells him of the present one.
    pub fn follow(&self, follower: Follower) {
        let _store = self.lock();
        follower(&self.directory.load_full());
        // A second follower is not kept: there is one tunnel.
        let _ = self.follower.set(follower);
    }

    /// The present snapshot.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Reads the store anew, after another process has changed it.
    ///
    /// # Errors
    /// [`StoreError`]; the former snapshot stays.
    pub fn reload(&self) -> Result<(), StoreError> {
        self.publish(&self.lock())
    }

    /// A number that differs after another process has changed the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn foreign_changes(&self) -> Result<i64, StoreError> {
        self.lock().foreign_changes()
    }

    /// Registers a device by an enrolment token.
    ///
    /// # Errors
    /// As [`Store::register`].
    pub fn register(&self, token: &TokenHash, device: &NewDevice<'_>) -> Result<Device, StoreError> {
        let mut store = self.lock();
        let device = store.register(token, device, now())?;
        self.publish(&store)?;
        Ok(device)
    }

    /// Gives a device another tunnel key.
    ///
    /// # Errors
    /// As [`Store::rotate_key`].
    pub fn rotate_key(&self, id: &str, key: PublicKey) -> Result<(), StoreError> {
        let mut store = self.lock();
        store.rotate_key(id, key)?;
        self.publish(&store)
    }

    /// Forgets a device.
    ///
    /// # Errors
    /// As [`Store::delete_device`].
    pub fn delete_device(&self, id: &str) -> Result<(), StoreError> {
        let mut store = self.lock();
        store.delete_device(id)?;
        self.publish(&store)
    }

    /// The device with this identifier, as the store has it now.
    ///
    /// # Errors
    /// [`StoreError::NoDevice`] unless the identifier is given in full.
    pub fn device(&self, id: &str) -> Result<Device, StoreError> {
        let device = self.lock().find_device(id)?;
        if device.id == id { Ok(device) } else { Err(StoreError::NoDevice(id.to_owned())) }
    }

    /// Notes that a device was heard of; written to the store by [`flush_seen`](Self::flush_seen).
    pub fn note_seen(&self, id: &str, moment: i64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = seen.entry(id.to_owned()).or_insert(moment);
        *noted = moment.max(*noted);
    }

    /// Writes down when devices were last heard of.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn flush_seen(&self) -> Result<(), StoreError> {
        let seen: Vec<_> = self.seen.lock().unwrap_or_else(PoisonError::into_inner).drain().collect();
        if seen.is_empty() { Ok(()) } else { self.lock().note_seen(&seen) }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // The store holds no state of its own between two transactions.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock is held meanwhile, so that snapshots follow each other in the order of the changes.
    fn publish(&self, store: &MutexGuard<'_, Store>) -> Result<(), StoreError> {
        let directory = Arc::new(Directory::read(store)?);
        self.directory.store(Arc::clone(&directory));
        if let Some(follower) = self.follower.get() {
            follower(&directory);
        }
        Ok(())
    }
}

/// Seconds since the Unix epoch.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u8) -> NewDevice<'static> {
        let token = Some(TokenHash::of(&number.to_string()));
        NewDevice { name: "d", os: "linux", version: "1", key: PublicKey::from([number; 32]), token }
    }

    #[test]
    fn the_follower_sees_every_change_in_order() {
        let mut store = Store::in_memory().unwrap();
        let enrolment = TokenHash::of("enrolment");
        store.add_enrolment_token(&enrolment, 9, None, None, now()).unwrap();
        let registry = Registry::new(store).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        registry.follow(Box::new(move |directory| log.lock().unwrap().push(directory.active().count())));
        let one = registry.register(&enrolment, &device(1)).unwrap();
        registry.register(&enrolment, &device(2)).unwrap();
        registry.delete_device(&one.id).unwrap();
        assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 1]);
    }

    #[test]
    fn a_revoked_device_has_no_address_and_is_still_known_by_its_credential() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("gateway.db");
        let mut elsewhere = Store::create(&path).unwrap();
        let added = elsewhere.add_device(&device(1), None, now()).unwrap();
        let registry = Registry::new(Store::open(&path).unwrap()).unwrap();
        assert!(registry.directory().at(added.slot.v4().into()).is_some());

        elsewhere.revoke_device(&added.id, now()).unwrap();
        registry.reload().unwrap();
        let directory = registry.directory();
        assert!(directory.at(added.slot.v4().into()).is_none());
        assert!(directory.at(added.slot.v6().into()).is_none());
        assert!(directory.with_token(&TokenHash::of("1")).unwrap().revoked.is_some());
        assert!(directory.with_token(&TokenHash::of("2")).is_none());
    }

    #[test]
    fn an_identifier_is_given_in_full() {
        let mut store = Store::in_memory().unwrap();
        let added = store.add_device(&device(1), None, now()).unwrap();
        let registry = Registry::new(store).unwrap();
        assert!(registry.device(&added.id).is_ok());
        assert!(matches!(registry.device(&added.id[..8]), Err(StoreError::NoDevice(_))));
    }

    #[test]
    fn being_seen_reaches_the_store() {
        let mut store = Store::in_memory().unwrap();
        let added = store.add_device(&device(1), None, now()).unwrap();
        let registry = Registry::new(store).unwrap();
        registry.note_seen(&added.id, 7);
        registry.note_seen(&added.id, 5);
        registry.flush_seen().unwrap();
        assert_eq!(registry.device(&added.id).unwrap().last_seen, Some(7));
    }
}
