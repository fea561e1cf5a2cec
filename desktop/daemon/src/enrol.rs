//! Registrations: made with a gateway, taken from a wg-quick file, shown, deleted.

use std::net::IpAddr;
use std::time::Duration;

use weft_ipc::message::{DnsSummary, GatewaySummary};
use weft_ipc::{Failure, RegistrationSummary, Response};
use weft_model::wg_quick::{self, Import};
use weft_model::{
    DnsUpstream, Gateway, PrivateKey, Profile, Registration, RegistrationSource, Secret, State, UserError,
};
use weft_runtime::orchestration::{self, ApiUrl};
use weft_runtime::tls::{Fingerprint, Trust};
use zeroize::Zeroizing;

use crate::daemon::{Daemon, internal};
use crate::follow;
use crate::target::Target;

/// How long a gateway may take to answer, and how long a name's look-up.
const REGISTER_WITHIN: Duration = Duration::from_secs(60);
const TELL_WITHIN: Duration = Duration::from_secs(15);
const LOOK_UP_WITHIN: Duration = Duration::from_secs(10);
/// How long the way down may take before the registration is forgotten all the same.
const DOWN_WITHIN: Duration = Duration::from_secs(30);
/// The longest name of a device or of an imported registration, in bytes.
const MAX_NAME: usize = 253;

/// What a registration with a gateway is made from.
pub(crate) struct Enrolment {
    pub(crate) url: String,
    pub(crate) token: Secret,
    pub(crate) ca_fingerprint: Option<String>,
    pub(crate) name: Option<String>,
}

/// Who this device is, without its secrets.
///
/// # Errors
/// It is not registered.
pub(crate) fn show(daemon: &Daemon) -> Result<RegistrationSummary, Failure> {
    let registration = daemon.keeper.registration().ok_or(UserError::RegistrationMissing)?;
    Ok(summary(&registration, daemon.keeper.profile()))
}

fn summary(registration: &Registration, profile: Option<Profile>) -> RegistrationSummary {
    RegistrationSummary {
        id: registration.id.clone(),
        source: registration.source,
        public_key: registration.private_key.public(),
        addresses: registration.addresses.clone(),
        gateways: registration.gateways.iter().map(gateway).collect(),
        profile: profile.map(|profile| profile.name),
    }
}

fn gateway(gateway: &Gateway) -> GatewaySummary {
    GatewaySummary {
        api: gateway.api.as_ref().map(|api| api.name.clone()),
        endpoints: gateway.tunnel.candidates().collect(),
        public_key: gateway.tunnel.public_key,
        dns: upstream(&gateway.dns),
    }
}

/// Who answers the names that no fallback rule takes, for people.
pub(crate) fn upstream(upstream: &DnsUpstream) -> DnsSummary {
    match upstream {
        DnsUpstream::Doh(doh) => DnsSummary::Doh { url: format!("https://{}{}", doh.name, doh.path) },
        DnsUpstream::Plain { servers, .. } => DnsSummary::Plain { servers: servers.clone() },
        DnsUpstream::System => DnsSummary::System,
    }
}

/// Registers this device with a gateway.
///
/// # Errors
/// There is a registration already, or the gateway refuses; nothing has changed then.
pub(crate) async fn register(daemon: &Daemon, enrolment: Enrolment) -> Result<Response, Failure> {
    let _operation = begin(daemon).await?;
    let refused = |detail: String| Failure::from(UserError::Orchestration { detail });
    let request = request(enrolment)?;
    let registered =
        tokio::time::timeout(REGISTER_WITHIN, orchestration::register(&daemon.outside, request)).await;
    let (registration, profile) = registered
        .map_err(|_| refused("the gateway does not answer".to_owned()))?
        .map_err(|error| refused(error.to_string()))?;
    adopt(daemon, registration, Some(profile)).await?;
    Ok(Response::Done)
}

/// Checks what the user gave, and makes the device's key.
fn request(enrolment: Enrolment) -> Result<orchestration::Enrolment, Failure> {
    let Enrolment { url, token, ca_fingerprint, name } = enrolment;
    let wrong = |detail: String| Failure::from(UserError::Orchestration { detail });
    let name = name.unwrap_or_else(host_name);
    check_name(&name)?;
    let trust = match ca_fingerprint {
        Some(text) => {
            Trust::CaFingerprint(text.parse::<Fingerprint>().map_err(|error| wrong(error.to_string()))?)
        }
        None => Trust::System,
    };
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key)
        .map_err(|error| internal(&format!("the system gives no random numbers: {error}")))?;
    Ok(orchestration::Enrolment {
        url: url.parse::<ApiUrl>().map_err(|error| wrong(error.to_string()))?,
        token,
        trust,
        private_key: PrivateKey::from(*key),
        name,
        os: std::env::consts::OS.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Takes a wg-quick file for a registration.
///
/// # Errors
/// There is a registration already, or the file cannot be carried out; nothing has changed then.
pub(crate) async fn import(daemon: &Daemon, name: &str, text: &Secret) -> Result<Response, Failure> {
    let _operation = begin(daemon).await?;
    check_name(name)?;
    let refused = |detail: String| Failure::File { detail };
    let import =
        wg_quick::parse(name, text.expose().as_bytes()).map_err(|error| refused(error.to_string()))?;
    let notes = import.notes.clone();
    let registration = resolve(import).await.map_err(refused)?;
    adopt(daemon, registration, None).await?;
    Ok(if notes.is_empty() { Response::Done } else { Response::Noted(notes) })
}

/// The registration of a file, with the addresses of its endpoint, which are kept: no look-up stands before the first
/// packet of a later connect.
async fn resolve(import: Import) -> Result<Registration, String> {
    let Some((host, port)) = import.endpoint_host.clone() else { return Ok(import.registration) };
    let looked_up =
        tokio::time::timeout(LOOK_UP_WITHIN, tokio::net::lookup_host((host.as_str(), port))).await;
    let failed = |why: String| format!("the endpoint's name {host} could not be looked up: {why}");
    let found = looked_up.map_err(|_| failed("no answer".to_owned()))?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.map_err(|error| failed(error.to_string()))? {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    if addresses.is_empty() {
        return Err(failed("it has no address".to_owned()));
    }
    Ok(import.resolved(&addresses))
}

/// Disconnects, tells the gateway, and forgets the registration. A gateway that cannot be told keeps the device in its
/// list, where its administrator can revoke it: the user is told so.
///
/// # Errors
/// There is no registration, or the administrator does not allow it; nothing has changed then. Or a device that a start
/// blocked cannot be opened; the registration stays then.
pub(crate) async fn delete(daemon: &Daemon) -> Result<Response, Failure> {
    let _operation = daemon.begin().await?;
    let registration = daemon.keeper.registration().ok_or(UserError::RegistrationMissing)?;
    let allowed = daemon.settings().await?.allowed_to_leave.value;
    if !allowed && !orchestration::is_revoked(&daemon.outside, &registration, TELL_WITHIN).await {
        return Err(UserError::Forbidden { detail: "the profile does not let users leave".to_owned() }.into());
    }
    daemon.set_target(Target::default())?;
    daemon.session.set_registration(None).await;
    daemon.open_if_stranded().await?;
    wait_until_down(daemon).await;
    // One that says that the device is revoked need not hear that it leaves.
    let notes = if allowed { tell_gateway(daemon, &registration).await } else { Vec::new() };
    let forgotten = daemon.keeper.forget();
    forgotten.map_err(|error| internal(&format!("the registration cannot be removed: {error}")))?;
    daemon.publish_status().await;
    Ok(if notes.is_empty() { Response::Done } else { Response::Noted(notes) })
}

async fn tell_gateway(daemon: &Daemon, registration: &Registration) -> Vec<String> {
    if registration.source != RegistrationSource::Orchestrated {
        return Vec::new();
    }
    let told = tokio::time::timeout(TELL_WITHIN, orchestration::delete(&daemon.outside, registration)).await;
    let why = match told {
        Ok(Ok(())) => return Vec::new(),
        // That is what was asked for.
        Ok(Err(error)) if error.is_revoked() => return Vec::new(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not answer".to_owned(),
    };
    tracing::warn!("the gateway could not be told that the device leaves: {why}");
    vec![format!(
        "the gateway could not be told ({why}): have its administrator revoke the device {}",
        registration.id
    )]
}

async fn wait_until_down(daemon: &Daemon) {
    let mut states = daemon.watch_status();
    let down = async {
        while daemon.publish_status().await.state != State::Disconnected {
            if states.changed().await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(DOWN_WITHIN, down).await.is_err() {
        tracing::warn!("the device is not down yet; the registration goes all the same");
    }
}

/// Begins a change that needs a device without a registration.
async fn begin(daemon: &Daemon) -> Result<tokio::sync::MutexGuard<'_, ()>, Failure> {
    let operation = daemon.begin().await?;
    if daemon.keeper.is_registered() {
        return Err(Failure::Registered);
    }
    if daemon.is_stranded() {
        let detail =
            "the device is blocked, since its registration is lost: run `weft disconnect` first".to_owned();
        return Err(UserError::Orchestration { detail }.into());
    }
    Ok(operation)
}

/// Keeps a new registration, and connects where its profile says so.
async fn adopt(daemon: &Daemon, registration: Registration, profile: Option<Profile>) -> Result<(), Failure> {
    let kept = daemon.keeper.adopt(&registration, profile.as_ref());
    kept.map_err(|error| internal(&format!("the registration cannot be kept: {error}")))?;
    daemon.session.set_registration(Some((registration, profile))).await;
    let settings = daemon.settings().await?;
    follow::copy_lock(daemon, &settings);
    if settings.switch_locked.value || settings.auto_connect.value > 0 {
        daemon.connect().await?;
    }
    daemon.publish_status().await;
    Ok(())
}

fn check_name(name: &str) -> Result<(), Failure> {
    match name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        true => {
            let detail = format!("a name has 1 to {MAX_NAME} bytes and no control characters");
            Err(UserError::Settings { detail }.into())
        }
        false => Ok(()),
    }
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "device".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_summary_holds_no_secret() {
        let mut registration = testing::registration();
        registration.token = Some("device-token".to_owned().into());
        let text = serde_json::to_string(&summary(&registration, None)).unwrap();
        for secret in ["device-token", "qMqVhGHX", "FpCyhws9"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains("127.0.0.1:9") && text.contains("office"), "{text}");
    }

    #[test]
    fn what_the_user_got_wrong_is_named_before_the_gateway_is_asked() {
        let enrolment = |url: &str, fingerprint: Option<&str>, name: &str| Enrolment {
            url: url.to_owned(),
            token: Secret::from("hunter2".to_owned()),
            ca_fingerprint: fingerprint.map(str::to_owned),
            name: Some(name.to_owned()),
        };
        let cases = [
            (enrolment("gateway.example", None, "x"), "gateway.example"),
            (enrolment("http://gateway.example", None, "x"), "https://"),
            (enrolment("https://gateway.example", Some("5f1c"), "x"), "64 hexadecimal digits"),
            (enrolment("https://gateway.example", None, ""), "a name has"),
        ];
        for (enrolment, named) in cases {
            let Err(error) = request(enrolment) else { panic!("taken: {named}") };
            let error = error.to_string();
            assert!(error.contains(named) && !error.contains("hunter2") && !error.contains('\n'), "{error}");
        }
        let fingerprint = "ab:".repeat(31) + "ab";
        let taken = request(enrolment("https://gateway.example:8443", Some(&fingerprint), "x")).ok().unwrap();
        assert_eq!((taken.url.host(), taken.url.port()), ("gateway.example", 8443));
        let other = request(enrolment("https://gateway.example", None, "x")).ok().unwrap();
        assert_ne!(taken.private_key.public(), other.private_key.public());
    }

    #[test]
    fn names_are_bounded() {
        for bad in ["", "a\nb", &"x".repeat(254)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name(&host_name()).is_ok());
        assert!(check_name("Ann's laptop").is_ok());
    }

    #[tokio::test]
    async fn an_endpoint_given_by_name_is_looked_up_once() {
        let text = testing::WG_CONF.replace("127.0.0.1", "localhost");
        let registration = resolve(wg_quick::parse("x", text.as_bytes()).unwrap()).await.unwrap();
        let endpoint = registration.gateways[0].tunnel.candidates().next().unwrap();
        assert!(endpoint.ip().is_loopback() && endpoint.port() == 9, "{endpoint}");
        let unknown = testing::WG_CONF.replace("127.0.0.1", "no.such.name.invalid");
        let error = resolve(wg_quick::parse("x", unknown.as_bytes()).unwrap()).await.unwrap_err();
        assert!(error.contains("no.such.name.invalid"), "{error}");
    }
}
