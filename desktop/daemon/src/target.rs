//! What the device was left as, and what a start makes of it.

use serde::{Deserialize, Serialize};
use weft_model::settings::UserChoices;
use weft_model::{FirewallPlan, Profile, Registration, Settings};
use weft_policy::{PlanInputs, PlanPhase, compile_plan, compile_settings};

use crate::state::Stored;

/// What the device shall be. Kept in a file of its own, which a start reads before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    /// The user wants it connected.
    pub(crate) connected: bool,
    /// The administrator does not let the user disconnect. A copy of the profile's word, for when that is damaged.
    pub(crate) locked: bool,
}

/// Everything that a start reads.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) target: Stored<Target>,
    pub(crate) registration: Stored<Registration>,
    pub(crate) profile: Stored<Profile>,
    pub(crate) user: Stored<UserChoices>,
}

/// What a start does.
#[derive(Debug)]
pub(crate) struct Decision {
    /// The firewall that stands before anything is undone; open = it is undone too, at the end.
    pub(crate) firewall: FirewallPlan,
    /// Connect once the network is as it was before Weft.
    pub(crate) connect: bool,
    /// What the daemon goes on with.
    pub(crate) target: Target,
    /// What could not be read, one line each.
    pub(crate) troubles: Vec<String>,
}

impl Left {
    /// What to do. Blocked and connected again: what was left connected, what the administrator locks or wants
    /// connected from the start, and what nobody can tell any more though it may be locked. Else open.
    pub(crate) fn decide(&self) -> Decision {
        let settings = self.settings();
        let (wanted, locked) = match &self.target {
            Stored::Read(target) => (target.connected, target.locked),
            Stored::Missing => (false, false),
            // A device without a registration was never locked, and one whose profile can be read is what that says.
            Stored::Unreadable(_) => (false, self.is_registered() && self.profile_is_damaged()),
        };
        let administrator = settings.switch_locked.value || settings.auto_connect.value > 0;
        let connect = wanted || (self.is_registered() && (locked || administrator));
        let firewall = if connect { self.blocked(&settings) } else { FirewallPlan::Open };
        let target = Target { connected: connect, locked: locked || settings.switch_locked.value };
        Decision { firewall, connect, target, troubles: self.troubles() }
    }

    /// The values in force, as far as they can be read.
    fn settings(&self) -> Settings {
        let user = read(&self.user).cloned().unwrap_or_default();
        compile_settings(read(&self.profile), read(&self.registration), &user)
    }

    /// The firewall of a device that shall be connected and is not. Without a readable registration the defaults say
    /// what is tunnelled.
    fn blocked(&self, settings: &Settings) -> FirewallPlan {
        compile_plan(&PlanInputs::new(settings, read(&self.registration), PlanPhase::Blocked), 0).firewall
    }

    fn is_registered(&self) -> bool {
        !matches!(self.registration, Stored::Missing)
    }

    fn profile_is_damaged(&self) -> bool {
        matches!(self.profile, Stored::Unreadable(_)) || matches!(self.registration, Stored::Unreadable(_))
    }

    fn troubles(&self) -> Vec<String> {
        fn trouble<T>(stored: &Stored<T>) -> Option<String> {
            match stored {
                Stored::Unreadable(why) => Some(why.clone()),
                _ => None,
            }
        }
        let all =
            [trouble(&self.target), trouble(&self.registration), trouble(&self.profile), trouble(&self.user)];
        all.into_iter().flatten().collect()
    }
}

fn read<T>(stored: &Stored<T>) -> Option<&T> {
    match stored {
        Stored::Read(value) => Some(value),
        Stored::Missing | Stored::Unreadable(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn damaged<T>() -> Stored<T> {
        Stored::Unreadable("it is damaged".to_owned())
    }

    fn profile(json: &str) -> Stored<Profile> {
        Stored::Read(Profile::from_json(json).unwrap())
    }

    fn target(connected: bool, locked: bool) -> Stored<Target> {
        Stored::Read(Target { connected, locked })
    }

    #[test]
    fn a_start_goes_on_as_the_device_was_left() {
        let registered = || Stored::Read(testing::registration());
        let (plain, locked, auto) = ("{}", r#"{"switch_locked":true}"#, r#"{"auto_connect":5}"#);
        let cases = [
            ("never used", Stored::Missing, Stored::Missing, Stored::Missing, false),
            ("registered", Stored::Missing, registered(), profile(plain), false),
            ("left disconnected", target(false, false), registered(), profile(plain), false),
            ("left connected", target(true, false), registered(), profile(plain), true),
            ("left connected, no profile", target(true, false), registered(), Stored::Missing, true),
            (
                "left connected, registration gone",
                target(true, false),
                Stored::Missing,
                Stored::Missing,
                true,
            ),
            ("left connected, registration damaged", target(true, false), damaged(), profile(plain), true),
            ("locked by the profile", target(false, false), registered(), profile(locked), true),
            ("locked, first start", Stored::Missing, registered(), profile(locked), true),
            ("locked by the copy", target(false, true), registered(), damaged(), true),
            ("locked by the copy, registration gone", target(false, true), Stored::Missing, damaged(), false),
            ("connects by itself", target(false, false), registered(), profile(auto), true),
            (
                "connects by itself, registration gone",
                target(false, false),
                Stored::Missing,
                profile(auto),
                false,
            ),
            ("damaged, not locked", damaged(), registered(), profile(plain), false),
            ("damaged, no profile", damaged(), registered(), Stored::Missing, false),
            ("damaged while locked", damaged(), registered(), profile(locked), true),
            ("damaged with the profile", damaged(), registered(), damaged(), true),
            ("damaged with the registration", damaged(), damaged(), profile(plain), true),
            ("damaged, not registered", damaged(), Stored::Missing, Stored::Missing, false),
        ];
        for (what, target, registration, profile, connect) in cases {
            let left = Left { target, registration, profile, user: Stored::Missing };
            let decision = left.decide();
            assert_eq!(decision.connect, connect, "{what}");
            assert_eq!(decision.target.connected, connect, "{what}");
            assert_eq!(decision.firewall != FirewallPlan::Open, connect, "{what}");
        }
    }

    #[test]
    fn what_is_blocked_is_what_the_settings_tunnel() {
        let include = r#"{"include":[{"address":"198.51.100.0/24"}]}"#;
        let left = Left {
            target: target(true, false),
            registration: Stored::Read(testing::registration()),
            profile: profile(include),
            user: Stored::Missing,
        };
        let FirewallPlan::Enforced { tunnelled, openings } = left.decide().firewall else { panic!("open") };
        let network = "198.51.100.0/24".parse().unwrap();
        assert!(tunnelled.contains(&network) && !openings.is_empty());
        assert!(
            !tunnelled.iter().any(|range| range.contains(&"192.0.2.1".parse::<std::net::IpAddr>().unwrap()))
        );
    }

    #[test]
    fn a_mode_without_tunnel_has_nothing_to_block() {
        let left = Left {
            target: target(true, false),
            registration: Stored::Read(testing::registration()),
            profile: profile(r#"{"service_mode_v2":{"mode":"1dot1"}}"#),
            user: Stored::Missing,
        };
        let decision = left.decide();
        assert_eq!((decision.connect, decision.firewall), (true, FirewallPlan::Open));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let left = Left { target: damaged(), registration: damaged(), profile: damaged(), user: damaged() };
        assert_eq!(left.decide().troubles.len(), 4);
        assert!(left.decide().target.locked);
    }
}
