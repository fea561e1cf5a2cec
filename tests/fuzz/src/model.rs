//! Profiles, the orchestration API's answers, wg-quick files.

use serde::Serialize;
use serde::de::DeserializeOwned;
use weft_model::Profile;
use weft_model::api::{ApiError, DeviceAnswer, RegisterAnswer};

use crate::{Outcome, assert_one_line};

/// A device profile in JSON.
pub fn profile_json(data: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(data) else { return Outcome::Refused };
    match Profile::from_json(text) {
        Ok(profile) => {
            assert_eq!(profile.validate(), Ok(()), "a profile that was read is whole");
            let written = serde_json::to_string(&profile).unwrap_or_default();
            assert_eq!(Profile::from_json(&written), Ok(profile), "a profile survives being written");
            Outcome::Taken
        }
        Err(error) => {
            assert_one_line(&error);
            Outcome::Refused
        }
    }
}

/// What a gateway's orchestration API answers: to a registration, to a later request, or a refusal.
pub fn orchestration_answer(data: &[u8]) -> Outcome {
    // All three are read, since which of them comes is the gateway's to say.
    let taken = [answer::<RegisterAnswer>(data), answer::<DeviceAnswer>(data), answer::<ApiError>(data)];
    taken.contains(&true).into()
}

fn answer<T: Serialize + DeserializeOwned>(data: &[u8]) -> bool {
    match serde_json::from_slice::<T>(data) {
        Ok(answer) => {
            let written = serde_json::to_value(&answer).unwrap_or_default();
            let read = serde_json::from_value::<T>(written.clone()).map(|again| serde_json::to_value(&again));
            assert!(matches!(read, Ok(Ok(again)) if again == written), "an answer survives being written");
            true
        }
        // The text of serde's error is shown to nobody: it may quote a credential.
        Err(_) => false,
    }
}

/// A wg-quick file.
pub fn wg_quick(data: &[u8]) -> Outcome {
    match weft_model::wg_quick::parse("fuzz", data) {
        Ok(import) => {
            let [gateway] = import.registration.gateways.as_slice() else { panic!("not one gateway") };
            assert!(!import.registration.addresses.is_empty() && !gateway.tunnel.allowed_ips.is_empty());
            assert_eq!(gateway.tunnel.addresses.is_empty(), import.endpoint_host.is_some());
            assert!(gateway.tunnel.ports.iter().all(|port| *port > 0) && gateway.tunnel.ports.len() == 1);
            import.notes.iter().for_each(|note| assert_one_line(note));
            Outcome::Taken
        }
        Err(error) => {
            assert_one_line(&error);
            Outcome::Refused
        }
    }
}
