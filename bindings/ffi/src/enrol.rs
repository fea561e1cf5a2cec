//! Enrolment with a gateway, and leaving it.

use std::sync::Arc;
use std::time::Duration;

use weft_model::{PrivateKey, Profile, Registration, RegistrationSource, Secret};
use weft_runtime::orchestration::{self, ApiUrl, OrchestrationError};
use weft_runtime::sockets::SocketFactory;
use weft_runtime::tls::{Fingerprint, Trust};
use zeroize::Zeroizing;

use crate::errors::WeftError;
use crate::keeper::{Keeper, Kept};
use crate::records::{Enrolment, SessionConfig};

/// How long a gateway may take for a registration, and for hearing that a device leaves.
const REGISTER_WITHIN: Duration = Duration::from_secs(60);
pub(crate) const TELL_WITHIN: Duration = Duration::from_secs(15);
/// The longest name of a device, in bytes.
const MAX_NAME: usize = 253;

/// What is wrong with a device's name.
pub(crate) fn check_name(name: &str) -> Result<(), WeftError> {
    match name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        true => Err(WeftError::invalid(format_args!(
            "a device's name has 1 to {MAX_NAME} bytes and no control characters"
        ))),
        false => Ok(()),
    }
}

/// Checks what the user gave, and makes the device's key.
pub(crate) fn request(
    enrolment: Enrolment,
    config: &SessionConfig,
) -> Result<orchestration::Enrolment, WeftError> {
    crate::link::check(&enrolment)?;
    let Enrolment { url, token, ca_fingerprint, device_name } = enrolment;
    let name = device_name.unwrap_or_else(|| config.device_name.clone());
    check_name(&name)?;
    let trust = match ca_fingerprint {
        Some(text) => Trust::CaFingerprint(text.parse::<Fingerprint>().map_err(WeftError::invalid)?),
        None => Trust::System,
    };
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key)
        .map_err(|error| WeftError::internal(format_args!("the system gives no random numbers: {error}")))?;
    Ok(orchestration::Enrolment {
        url: url.parse::<ApiUrl>().map_err(WeftError::invalid)?,
        token: Secret::from(token),
        trust,
        private_key: PrivateKey::from(*key),
        name,
        os: config.os.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Registers the device and keeps what came of it. A gateway whose device could not be kept hears that it is gone.
pub(crate) async fn register(
    sockets: SocketFactory,
    keeper: Arc<Keeper>,
    request: orchestration::Enrolment,
) -> Result<(Registration, Profile), WeftError> {
    let name = request.url.host().to_owned();
    let registered = tokio::time::timeout(REGISTER_WITHIN, orchestration::register(&sockets, request)).await;
    let late = |_| WeftError::Unreachable { detail: format!("\"{name}\" does not answer") };
    let (registration, profile) = registered.map_err(late)??;
    let kept =
        Kept { registration: registration.clone(), profile: Some(profile.clone()), user: Default::default() };
    if let Err(error) = keeper.adopt(kept) {
        let _best_effort = tell(&sockets, &registration).await;
        return Err(error);
    }
    Ok((registration, profile))
}

/// Tells the gateway that the device leaves; what kept it from hearing, for the user.
pub(crate) async fn tell(sockets: &SocketFactory, registration: &Registration) -> Option<String> {
    if registration.source != RegistrationSource::Orchestrated {
        return None;
    }
    let told = tokio::time::timeout(TELL_WITHIN, orchestration::delete(sockets, registration)).await;
    let why = match told {
        Ok(Ok(())) => return None,
        // That is what was asked for.
        Ok(Err(error)) if OrchestrationError::is_revoked(&error) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not answer".to_owned(),
    };
    tracing::warn!("the gateway could not be told that the device leaves: {why}");
    Some(format!(
        "the gateway could not be told that the device left ({why}): have its administrator revoke {}",
        registration.id
    ))
}
