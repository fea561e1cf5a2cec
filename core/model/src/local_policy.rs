//! What the administrator decides on the device itself, by MDM: it outranks the profile.

use serde::{Deserialize, Serialize};

use crate::plan::AppRules;
use crate::profile::{Profile, ProfileError, ServiceMode};

/// The most apps that an administrator may name.
pub const MAX_APPS: usize = 1000;

/// What a managed configuration decides, in the field names of WARP's managed deployment where it has them. What is
/// absent is the profile's to decide.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LocalPolicy {
    /// What of the device's traffic Weft handles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_mode: Option<ServiceMode>,
    /// Whether the user may not disconnect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch_locked: Option<bool>,
    /// Minutes until a switched-off device connects again; 0 = stays off; 1 to 1440.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_connect: Option<u32>,
    /// Where users turn to for help: `https://` or `mailto:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support_url: Option<String>,
    /// Which apps the tunnel carries, on systems that know apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<AppRules>,
}

impl LocalPolicy {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A [`ProfileError`] that names the first thing that is wrong.
    pub fn validate(&self) -> Result<(), ProfileError> {
        // What a profile has too is bound by the profile's own rules.
        let same = Profile {
            auto_connect: self.auto_connect.unwrap_or(0),
            support_url: self.support_url.clone(),
            ..Profile::default()
        };
        same.validate()?;
        let apps = match &self.apps {
            Some(AppRules::Only(apps) | AppRules::Except(apps)) => apps.as_slice(),
            Some(AppRules::All) | None => &[],
        };
        if apps.len() > MAX_APPS {
            let (value, allowed) = (apps.len() as u64, "at most 1000 apps");
            return Err(ProfileError::Range { field: "tunneled_apps", value, allowed });
        }
        match apps.iter().position(|app| app.is_empty() || app.len() > 255) {
            Some(place) => Err(ProfileError::Range {
                field: "tunneled_apps",
                value: place as u64 + 1,
                allowed: "a name of 1 to 255 bytes for each app",
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_named() {
        let apps = |names: &[&str]| Some(AppRules::Only(names.iter().map(ToString::to_string).collect()));
        let cases = [
            (LocalPolicy { auto_connect: Some(1441), ..LocalPolicy::default() }, "auto_connect"),
            (
                LocalPolicy { support_url: Some("http://x".to_owned()), ..LocalPolicy::default() },
                "support_url",
            ),
            (LocalPolicy { apps: apps(&["org.example", ""]), ..LocalPolicy::default() }, "tunneled_apps"),
            (LocalPolicy { apps: apps(&["a"; 1001]), ..LocalPolicy::default() }, "1001"),
        ];
        for (policy, named) in cases {
            let error = policy.validate().unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let full = LocalPolicy {
            service_mode: Some(ServiceMode::DnsOnly),
            switch_locked: Some(true),
            auto_connect: Some(1440),
            support_url: Some("mailto:help@example.com".to_owned()),
            apps: apps(&["org.example"]),
        };
        assert_eq!(full.validate(), Ok(()));
        assert_eq!(LocalPolicy::default().validate(), Ok(()));
    }

    #[test]
    fn allowed_apps_come_before_disallowed_ones() {
        let (one, two) = (vec!["a".to_owned()], vec!["b".to_owned()]);
        let rules = AppRules::from_lists;
        assert_eq!(rules(one.clone(), two.clone()), AppRules::Only(one));
        assert_eq!(rules(Vec::new(), two.clone()), AppRules::Except(two));
        assert_eq!(rules(Vec::new(), Vec::new()), AppRules::All);
    }
}
