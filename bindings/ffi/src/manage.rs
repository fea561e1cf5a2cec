//! The administrator's managed configuration: what an MDM sets on the device itself.

use weft_model::{AppRules, LocalPolicy};

use crate::errors::WeftError;
use crate::records::ManagedConfig;

/// What a managed configuration decides. What it says of the gateway is for enrolment, and the app's to use.
///
/// # Errors
/// [`WeftError::InvalidInput`] for what cannot be.
pub(crate) fn policy(managed: ManagedConfig) -> Result<LocalPolicy, WeftError> {
    let apps = AppRules::from_lists(managed.allowed_apps, managed.disallowed_apps);
    let policy = LocalPolicy {
        service_mode: managed.service_mode.map(Into::into),
        switch_locked: managed.switch_locked,
        auto_connect: managed.auto_connect,
        support_url: managed.support_url,
        apps: Some(apps).filter(|apps| *apps != AppRules::All),
    };
    policy.validate().map_err(WeftError::invalid)?;
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_decided() {
        assert_eq!(policy(ManagedConfig::default()), Ok(LocalPolicy::default()));
        let said = ManagedConfig {
            switch_locked: Some(false),
            disallowed_apps: vec!["org.example.bank".into()],
            ..ManagedConfig::default()
        };
        let said = policy(said).unwrap();
        assert_eq!(said.switch_locked, Some(false));
        assert_eq!(said.apps, Some(AppRules::Except(vec!["org.example.bank".into()])));
        assert_eq!(said.service_mode, None);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in [
            ManagedConfig { auto_connect: Some(1441), ..ManagedConfig::default() },
            ManagedConfig { support_url: Some("http://help.example".into()), ..ManagedConfig::default() },
            ManagedConfig { allowed_apps: vec![String::new()], ..ManagedConfig::default() },
        ] {
            assert!(matches!(policy(wrong), Err(WeftError::InvalidInput { .. })));
        }
    }
}
