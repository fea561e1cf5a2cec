//! Who the device is, and how it becomes that.

use weft_model::{Profile, Registration};

use super::plan::{IpNetwork, networks};

/// What a device enrols with.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct Enrolment {
    /// The gateway: `https://NAME[:PORT]`.
    pub url: String,
    /// The credential that the administrator gave out.
    pub token: String,
    /// The fingerprint of the gateway's certificate authority, 64 hexadecimal digits; none = the system's.
    pub ca_fingerprint: Option<String>,
    /// The device's name; none = that of the session's configuration.
    pub device_name: Option<String>,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrolment").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Who the device is, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct RegistrationInfo {
    /// The device's identifier at the gateway.
    pub id: String,
    /// The device's tunnel key.
    pub public_key: String,
    /// The tunnel interface's addresses.
    pub addresses: Vec<IpNetwork>,
    /// The gateway's name.
    pub gateway: String,
    /// The name of the profile; none = none was delivered yet.
    pub profile_name: Option<String>,
}

impl RegistrationInfo {
    pub(crate) fn new(registration: &Registration, profile: Option<&Profile>) -> Self {
        let gateways = registration.gateways.iter();
        let name = gateways.clone().find_map(|gateway| gateway.api.as_ref()).map(|api| api.name.clone());
        let endpoint = || gateways.clone().find_map(|gateway| gateway.tunnel.candidates().next());
        Self {
            id: registration.id.clone(),
            public_key: registration.private_key.public().to_string(),
            addresses: networks(&registration.addresses),
            gateway: name.or_else(|| endpoint().map(|to| to.to_string())).unwrap_or_default(),
            profile_name: profile.map(|profile| profile.name.clone()),
        }
    }
}
