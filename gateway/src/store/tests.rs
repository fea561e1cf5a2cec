use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;
use weft_model::Profile;

use super::*;

const NOW: i64 = 1_800_000_000;

fn new_device(number: u8) -> NewDevice<'static> {
    NewDevice {
        name: "laptop",
        os: "linux",
        version: "0.1.0",
        key: PublicKey::from([number; 32]),
        token: Some(TokenHash::of(&format!("device {number}"))),
    }
}

fn with_token(uses: u32, expires: Option<i64>) -> (Store, TokenHash) {
    let mut store = Store::in_memory().unwrap();
    let token = TokenHash::of("enrolment");
    store.add_enrolment_token(&token, uses, expires, None, NOW).unwrap();
    (store, token)
}

#[test]
fn a_token_registers_as_many_devices_as_it_has_uses() {
    let (mut store, token) = with_token(2, None);
    let one = store.register(&token, &new_device(1), NOW).unwrap();
    let two = store.register(&token, &new_device(2), NOW).unwrap();
    assert_ne!(one.slot, two.slot);
    assert_ne!(one.id, two.id);
    assert!(matches!(store.register(&token, &new_device(3), NOW), Err(StoreError::TokenSpent)));
    assert_eq!(store.devices().unwrap(), [one, two]);
    assert_eq!(store.token_summary(NOW).unwrap().usable, 0);
}

#[test]
fn a_refused_registration_spends_nothing() {
    let (mut store, token) = with_token(1, Some(NOW + 60));
    store.add_device(&new_device(1), None, NOW).unwrap();
    assert!(matches!(store.register(&token, &new_device(1), NOW), Err(StoreError::KeyInUse)));
    assert!(matches!(
        store.register(&TokenHash::of("other"), &new_device(2), NOW),
        Err(StoreError::BadToken)
    ));
    assert!(matches!(store.register(&token, &new_device(2), NOW + 60), Err(StoreError::TokenExpired)));
    store.register(&token, &new_device(2), NOW + 59).unwrap();
}

#[test]
fn a_device_is_found_by_a_beginning_that_only_it_has() {
    let mut store = Store::in_memory().unwrap();
    let device = store.add_device(&new_device(1), None, NOW).unwrap();
    assert_eq!(store.find_device(&device.id).unwrap(), device);
    assert_eq!(store.find_device(&device.id[..8].to_uppercase()).unwrap(), device);
    for missing in ["", "abc", "zzzz", "' OR 1", &format!("{}0", device.id)] {
        assert!(matches!(store.find_device(missing), Err(StoreError::NoDevice(_))), "{missing}");
    }
    for number in 2..=255 {
        store.add_device(&new_device(number), None, NOW).unwrap();
    }
    // 255 devices and 16 first digits: some share theirs, but a beginning of one digit is never taken.
    assert!(matches!(store.find_device(&device.id[..1]), Err(StoreError::NoDevice(_))));
}

#[test]
fn a_revoked_device_keeps_its_address_and_its_first_date() {
    let mut store = Store::in_memory().unwrap();
    store.limit_slots(1);
    let device = store.add_device(&new_device(1), None, NOW).unwrap();
    store.revoke_device(&device.id, NOW + 1).unwrap();
    store.revoke_device(&device.id, NOW + 2).unwrap();
    assert_eq!(store.find_device(&device.id).unwrap().revoked, Some(NOW + 1));
    assert!(matches!(store.add_device(&new_device(2), None, NOW), Err(StoreError::Full)));
    assert!(matches!(store.revoke_device("00", NOW), Err(StoreError::NoDevice(_))));
}

#[test]
fn an_address_comes_back_after_deletion_and_the_longest_free_one_first() {
    let mut store = Store::in_memory().unwrap();
    store.limit_slots(3);
    let ids: Vec<_> =
        (1..=3).map(|number| store.add_device(&new_device(number), None, NOW).unwrap()).collect();
    assert!(matches!(store.add_device(&new_device(4), None, NOW), Err(StoreError::Full)));
    store.delete_device(&ids[2].id).unwrap();
    store.delete_device(&ids[0].id).unwrap();
    assert_eq!(store.add_device(&new_device(4), None, NOW).unwrap().slot, ids[2].slot);
    assert_eq!(store.add_device(&new_device(5), None, NOW).unwrap().slot, ids[0].slot);
    assert!(matches!(store.delete_device(&ids[0].id), Err(StoreError::NoDevice(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_two_devices_ever_share_an_address(steps in proptest::collection::vec((any::<bool>(), 0_usize..8), 1..60)) {
        let mut store = Store::in_memory().unwrap();
        store.limit_slots(6);
        let mut keys = 0;
        for (add, which) in steps {
            let present = store.devices().unwrap();
            if add {
                keys += 1;
                match store.add_device(&new_device(keys), None, NOW) {
                    Ok(device) => prop_assert!(present.iter().all(|other| other.slot != device.slot)),
                    Err(error) => {
                        prop_assert!(matches!(error, StoreError::Full));
                        prop_assert_eq!(present.len(), 6);
                    }
                }
            } else if let Some(device) = present.get(which) {
                store.delete_device(&device.id).unwrap();
            }
            let slots: BTreeSet<_> = store.devices().unwrap().iter().map(|device| device.slot).collect();
            prop_assert_eq!(slots.len(), store.devices().unwrap().len());
        }
    }
}

#[test]
fn a_key_is_rotated_and_never_shared() {
    let mut store = Store::in_memory().unwrap();
    let one = store.add_device(&new_device(1), None, NOW).unwrap();
    store.add_device(&new_device(2), None, NOW).unwrap();
    assert!(matches!(store.rotate_key(&one.id, PublicKey::from([2; 32])), Err(StoreError::KeyInUse)));
    store.rotate_key(&one.id, PublicKey::from([3; 32])).unwrap();
    store.rotate_key(&one.id, PublicKey::from([3; 32])).unwrap();
    assert_eq!(store.find_device(&one.id).unwrap().key, PublicKey::from([3; 32]));
    assert!(matches!(store.rotate_key("00", PublicKey::from([4; 32])), Err(StoreError::NoDevice(_))));
}

#[test]
fn there_is_always_one_default_profile() {
    let mut store = Store::in_memory().unwrap();
    assert_eq!(store.profile(None).unwrap().name, DEFAULT_PROFILE);

    let unnamed = Profile::from_json(r#"{"switch_locked":true}"#).unwrap();
    let set = store.set_profile(unnamed).unwrap();
    assert_eq!((set.name.as_str(), set.is_default), (DEFAULT_PROFILE, true));
    assert!(store.profile(None).unwrap().profile.switch_locked);

    store.set_profile(Profile::from_json(r#"{"name":"Office"}"#).unwrap()).unwrap();
    assert!(!store.profile(Some("Office")).unwrap().is_default);
    store.set_profile(Profile::from_json(r#"{"name":"Office","default":true}"#).unwrap()).unwrap();
    assert_eq!(store.profile(None).unwrap().name, "Office");
    assert_eq!(store.profiles().unwrap().iter().filter(|profile| profile.is_default).count(), 1);
    assert!(matches!(store.profile(Some("Nobody")), Err(StoreError::NoProfile(_))));
}

#[test]
fn a_bad_profile_changes_nothing() {
    let mut store = Store::in_memory().unwrap();
    let before = store.profiles().unwrap();
    let bad = Profile { auto_connect: 100_000, ..Profile::default() };
    assert!(matches!(store.set_profile(bad), Err(StoreError::Profile(_))));
    assert_eq!(store.profiles().unwrap(), before);
}

#[test]
fn a_token_names_the_profile_of_its_devices() {
    let mut store = Store::in_memory().unwrap();
    let token = TokenHash::of("enrolment");
    let add = |store: &mut Store| store.add_enrolment_token(&token, 1, None, Some("Office"), NOW);
    assert!(matches!(add(&mut store), Err(StoreError::NoProfile(_))));
    store.set_profile(Profile::from_json(r#"{"name":"Office"}"#).unwrap()).unwrap();
    add(&mut store).unwrap();
    let device = store.register(&token, &new_device(1), NOW).unwrap();
    assert_eq!(device.profile.as_deref(), Some("Office"));
}

#[test]
fn old_tokens_are_forgotten() {
    let (mut store, token) = with_token(1, Some(NOW + 10));
    let later = NOW + 40 * 24 * 3600;
    store.add_enrolment_token(&TokenHash::of("second"), 1, None, None, later).unwrap();
    assert!(matches!(store.register(&token, &new_device(1), later), Err(StoreError::BadToken)));
}

#[test]
fn a_moment_of_being_seen_never_goes_back() {
    let mut store = Store::in_memory().unwrap();
    let device = store.add_device(&new_device(1), None, NOW).unwrap();
    for moment in [NOW + 5, NOW + 1] {
        store.note_seen(&[(device.id.clone(), moment), ("unknown".to_owned(), moment)]).unwrap();
    }
    assert_eq!(store.find_device(&device.id).unwrap().last_seen, Some(NOW + 5));
}

#[test]
fn two_processes_share_one_file_and_see_each_others_changes() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("gateway.db");
    let mut one = Store::create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert!(matches!(Store::create(&path), Err(StoreError::Io(_))));
    let mut other = Store::open(&path).unwrap();
    let before = one.foreign_changes().unwrap();
    let device = other.add_device(&new_device(1), None, NOW).unwrap();
    assert_ne!(one.foreign_changes().unwrap(), before);
    assert_eq!(one.find_device(&device.id).unwrap(), device);
    let before = one.foreign_changes().unwrap();
    one.revoke_device(&device.id, NOW).unwrap();
    assert_eq!(one.foreign_changes().unwrap(), before);
    for file in std::fs::read_dir(home.path()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().mode() & 0o077, 0);
    }
}

#[test]
fn what_is_no_store_is_refused_in_one_line() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("gateway.db");
    assert!(Store::open(&path).is_err());
    std::fs::write(&path, b"certainly not a database, but long enough to look at").unwrap();
    let error = Store::open(&path).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Version(0))));
}

#[test]
fn of_a_token_only_its_hash_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("gateway.db");
    let mut store = Store::create(&path).unwrap();
    let (enrolment, credential) = (new_enrolment_token().unwrap(), new_device_token().unwrap());
    assert_ne!(enrolment.expose(), new_enrolment_token().unwrap().expose());
    store.add_enrolment_token(&TokenHash::of(enrolment.expose()), 1, None, None, NOW).unwrap();
    let device = NewDevice { token: Some(TokenHash::of(credential.expose())), ..new_device(1) };
    store.register(&TokenHash::of(enrolment.expose()), &device, NOW).unwrap();
    drop(store);
    let bytes: Vec<u8> = std::fs::read_dir(home.path())
        .unwrap()
        .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    for token in [enrolment, credential] {
        assert!(!bytes.windows(token.expose().len()).any(|window| window == token.expose().as_bytes()));
    }
}
