//! Keeps who this device is: the registration, the profile and the user's choices, each in its file.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use weft_model::settings::UserChoices;
use weft_model::{Profile, Registration};
use weft_runtime::session::Host;

use crate::state::{StateDir, Stored};
use crate::target::{Left, Target};

const REGISTRATION: &str = "reg.json";
const PROFILE: &str = "profile.json";
const USER: &str = "user.json";
const TARGET: &str = "target.json";

/// The files. What belongs to a registration that is gone is not written any more.
pub(crate) struct Keeper {
    state: StateDir,
    /// The identifier of the registration that counts.
    current: Mutex<Option<String>>,
}

impl Keeper {
    /// Reads everything that the device was left with.
    pub(crate) fn open(state: StateDir) -> (Self, Left) {
        let registration =
            state.read::<Registration>(REGISTRATION).checked(|registration| {
                match registration.gateways.is_empty() {
                    true => Err(format!("{} names no gateway", state.path(REGISTRATION).display())),
                    false => Ok(()),
                }
            });
        let left = Left {
            target: state.read(TARGET),
            profile: state.read::<Profile>(PROFILE).checked(Profile::validate),
            user: state.read(USER),
            registration,
        };
        let current = match &left.registration {
            Stored::Read(registration) => Some(registration.id.clone()),
            Stored::Missing | Stored::Unreadable(_) => None,
        };
        (Self { state, current: Mutex::new(current) }, left)
    }

    fn current(&self) -> MutexGuard<'_, Option<String>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registration as it is kept now.
    pub(crate) fn registration(&self) -> Option<Registration> {
        let current = self.current();
        current.as_ref()?;
        self.state.read(REGISTRATION).value()
    }

    /// The profile as it is kept now.
    pub(crate) fn profile(&self) -> Option<Profile> {
        self.state.read(PROFILE).value()
    }

    /// Whether there is a registration.
    pub(crate) fn is_registered(&self) -> bool {
        self.current().is_some()
    }

    /// Keeps another registration. What belonged to a former one goes first, so that a crash leaves no mixture.
    pub(crate) fn adopt(&self, registration: &Registration, profile: Option<&Profile>) -> io::Result<()> {
        let mut current = self.current();
        *current = None;
        self.state.remove(REGISTRATION)?;
        self.state.remove(PROFILE)?;
        if let Some(profile) = profile {
            self.state.write(PROFILE, profile)?;
        }
        self.state.write(REGISTRATION, registration)?;
        *current = Some(registration.id.clone());
        Ok(())
    }

    /// Forgets the registration and all that belongs to it.
    pub(crate) fn forget(&self) -> io::Result<()> {
        let mut current = self.current();
        *current = None;
        self.state.remove(REGISTRATION)?;
        self.state.remove(PROFILE)?;
        self.state.remove(USER)
    }

    /// Keeps the target state.
    pub(crate) fn write_target(&self, target: &Target) -> io::Result<()> {
        self.state.write(TARGET, target)
    }
}

impl Host for Keeper {
    fn store(
        &self,
        registration: &Registration,
        profile: Option<&Profile>,
        user: &UserChoices,
    ) -> io::Result<()> {
        let current = self.current();
        if current.as_ref() != Some(&registration.id) {
            return Ok(());
        }
        if let Some(profile) = profile {
            self.state.write(PROFILE, profile)?;
        }
        self.state.write(USER, user)?;
        self.state.write(REGISTRATION, registration)
    }
}

#[cfg(test)]
mod tests {
    use weft_model::ServiceMode;

    use super::*;
    use crate::testing::registration;

    fn keeper() -> (Keeper, StateDir, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        (Keeper::open(state.clone()).0, state, folder)
    }

    #[test]
    fn a_registration_is_kept_until_it_is_forgotten() {
        let (keeper, state, _folder) = keeper();
        assert!(!keeper.is_registered());
        let user = UserChoices { service_mode: Some(ServiceMode::DnsOnly) };
        keeper.adopt(&registration(), Some(&Profile::default())).unwrap();
        keeper.store(&registration(), Some(&Profile::default()), &user).unwrap();
        let (again, left) = Keeper::open(state.clone());
        assert!(again.is_registered());
        assert_eq!(left.registration, Stored::Read(registration()));
        assert_eq!(left.profile, Stored::Read(Profile::default()));
        assert_eq!(left.user, Stored::Read(user));
        keeper.forget().unwrap();
        assert!(!keeper.is_registered() && keeper.registration().is_none());
        // A session that is late does not bring it back.
        keeper.store(&registration(), Some(&Profile::default()), &UserChoices::default()).unwrap();
        let left = Keeper::open(state).1;
        assert_eq!(
            (left.registration, left.profile, left.user),
            (Stored::Missing, Stored::Missing, Stored::Missing)
        );
    }

    #[test]
    fn another_registration_takes_nothing_of_the_former_over() {
        let (keeper, state, _folder) = keeper();
        keeper.adopt(&registration(), Some(&Profile::default())).unwrap();
        let other = Registration { id: "other".into(), ..registration() };
        keeper.adopt(&other, None).unwrap();
        keeper.store(&registration(), Some(&Profile::default()), &UserChoices::default()).unwrap();
        let left = Keeper::open(state).1;
        assert_eq!((left.registration, left.profile), (Stored::Read(other), Stored::Missing));
    }

    #[test]
    fn what_cannot_be_used_is_unreadable() {
        let (_, state, _folder) = keeper();
        state.write(REGISTRATION, &Registration { gateways: Vec::new(), ..registration() }).unwrap();
        state.write(PROFILE, &Profile { auto_connect: 9999, ..Profile::default() }).unwrap();
        let (keeper, left) = Keeper::open(state);
        assert!(!keeper.is_registered());
        assert!(matches!(&left.registration, Stored::Unreadable(why) if why.contains("no gateway")));
        assert!(matches!(&left.profile, Stored::Unreadable(why) if why.contains("auto_connect")));
    }
}
