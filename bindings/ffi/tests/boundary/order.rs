//! Calls in the wrong order, and with what cannot be.

use anyhow::ensure;
use weft_ffi::{
    Enrolment, Event, HostError, ManagedConfig, Origin, PrivateDns, Session, SessionConfig, State, WeftError,
};

use crate::support::{TestHost, config, is_in, network, plan, session, status, wait};

fn enrolment() -> Enrolment {
    Enrolment {
        url: "https://127.0.0.1:9".into(),
        token: "token".into(),
        ca_fingerprint: Some("ab".repeat(32)),
        device_name: None,
    }
}

#[test]
fn a_device_that_is_not_registered_is_told_so() {
    netlab::run(|_| {
        let session = session(&TestHost::new());
        for refused in [wait(session.connect()), wait(session.refresh_profile()), wait(session.leave())] {
            ensure!(matches!(refused, Err(WeftError::NotRegistered { .. })), "{refused:?}");
        }
        ensure!(wait(session.registration()).is_none());
        ensure!(wait(session.status()).is_some_and(|status| status.state == State::Disconnected));
        Ok(())
    });
}

#[test]
fn a_device_that_is_registered_does_not_enrol_again() {
    netlab::run(|_| {
        let session = session(&TestHost::registered());
        let refused = wait(session.enrol(enrolment()));
        ensure!(refused == Err(WeftError::AlreadyRegistered { detail: "office".into() }), "{refused:?}");
        let known = wait(session.registration()).unwrap();
        ensure!((known.id.as_str(), known.gateway.as_str()) == ("office", "gateway.example"), "{known:?}");
        Ok(())
    });
}

#[test]
fn a_plan_that_nobody_was_given_cannot_be_acknowledged() {
    netlab::run(|_| {
        let session = session(&TestHost::registered());
        wait(session.acknowledge_plan(1, None));
        wait(session.connect())?;
        let given = plan(&session, |plan| plan.interface.is_some())?;
        wait(session.acknowledge_plan(given.number + 1, None));
        wait(session.acknowledge_plan(u64::MAX, Some("no".into())));
        ensure!(
            wait(session.status()).is_some_and(|status| status.plan < given.number && status.error.is_none())
        );
        // A failure is one, under its own number.
        wait(session.acknowledge_plan(given.number, Some("the user said no".into())));
        let failed = status(&session, |status| status.error.is_some())?;
        let error = failed.error.unwrap();
        ensure!(error.code == "plan_failed" && error.text.contains("the user said no"), "{error:?}");
        Ok(())
    });
}

#[test]
fn a_packet_flow_is_had_once_at_a_time() {
    netlab::run(|_| {
        let session = session(&TestHost::registered());
        let flow = session.packet_flow()?;
        let second = session.packet_flow().map(drop);
        ensure!(matches!(second, Err(WeftError::WrongOrder { .. })), "{second:?}");
        drop(flow);
        let again = session.packet_flow()?;
        ensure!(session.has_interface());
        again.close();
        ensure!(!session.has_interface(), "a flow that is closed carries nothing");
        session.packet_flow()?;
        Ok(())
    });
}

#[test]
fn what_cannot_be_meant_is_refused() {
    netlab::run(|_| {
        let new = |config: SessionConfig| Session::new(config, TestHost::new()).map(drop);
        for wrong in [
            SessionConfig { device_name: String::new(), ..config() },
            SessionConfig { device_name: "a\nb".into(), ..config() },
            SessionConfig { os: "plan9".into(), ..config() },
        ] {
            let refused = new(wrong);
            ensure!(matches!(refused, Err(WeftError::InvalidInput { .. })), "{refused:?}");
        }
        let session = session(&TestHost::registered());
        let wrong =
            [
                wait(session.explain_host("a..b".into())).map(drop),
                wait(session.explain_address("1.2.3".into())).map(drop),
                wait(session.dns_lookup("a b".into(), "A".into())).map(drop),
                wait(session.dns_lookup("example.com".into(), "AAA".into())).map(drop),
                wait(session.set_managed(Some(ManagedConfig {
                    auto_connect: Some(9999),
                    ..ManagedConfig::default()
                }))),
            ];
        for refused in wrong {
            ensure!(matches!(refused, Err(WeftError::InvalidInput { .. })), "{refused:?}");
        }
        let off = wait(session.dns_lookup("example.com".into(), "aaaa".into()));
        ensure!(matches!(off, Err(WeftError::WrongOrder { .. })), "{off:?}");
        Ok(())
    });
}

#[test]
fn everything_after_close_says_so() {
    netlab::run(|_| {
        let session = session(&TestHost::registered());
        wait(session.close());
        wait(session.close());
        ensure!(wait(session.next_event()).is_none() && wait(session.next_event()).is_none());
        let closed = [
            wait(session.connect()),
            wait(session.disconnect()),
            wait(session.leave()),
            wait(session.enrol(enrolment())),
            wait(session.set_managed(None)),
            wait(session.explain_host("example.com".into())).map(drop),
            wait(session.dns_lookup("example.com".into(), "A".into())).map(drop),
            session.packet_flow().map(drop),
        ];
        for refused in closed {
            ensure!(matches!(refused, Err(WeftError::Closed { .. })), "{refused:?}");
        }
        ensure!(wait(session.status()).is_none() && wait(session.settings()).is_none());
        ensure!(wait(session.stats()).is_none());
        wait(session.network_changed(network()));
        wait(session.woke());
        wait(session.dns_flush());
        wait(session.acknowledge_plan(1, None));
        Ok(())
    });
}

#[test]
fn local_policy_is_in_force_from_the_start_and_can_be_taken_back() {
    netlab::run(|_| {
        let managed = ManagedConfig {
            switch_locked: Some(true),
            allowed_apps: vec!["org.a".into()],
            ..ManagedConfig::default()
        };
        let started = SessionConfig { managed: Some(managed), ..config() };
        let session = Session::new(started, TestHost::registered())?;
        let settings = wait(session.settings()).unwrap();
        let locked = settings.list.iter().find(|setting| setting.name == "switch_locked").unwrap();
        ensure!(settings.switch_locked && locked.origin == Origin::LocalPolicy, "{settings:?}");
        wait(session.connect())?;
        let given = plan(&session, |plan| plan.interface.is_some())?;
        ensure!(given.apps == weft_ffi::AppRules::Only { packages: vec!["org.a".into()] }, "{given:?}");
        let locked = wait(session.disconnect());
        ensure!(matches!(locked, Err(WeftError::Forbidden { .. })), "{locked:?}");
        wait(session.set_managed(None))?;
        wait(session.disconnect())?;
        status(&session, is_in(State::Disconnected))?;
        Ok(())
    });
}

#[test]
fn private_dns_that_goes_past_weft_is_a_warning() {
    netlab::run(|_| {
        let session = session(&TestHost::registered());
        let mut network = network();
        let warned = || wait(session.status()).is_some_and(|status| !status.warnings.is_empty());
        ensure!(!warned());
        network.private_dns = PrivateDns::Strict { host: "dns.example".into() };
        wait(session.network_changed(network.clone()));
        ensure!(warned());
        network.private_dns = PrivateDns::Opportunistic;
        wait(session.network_changed(network));
        ensure!(!warned());
        Ok(())
    });
}

#[test]
fn a_warning_that_comes_or_goes_is_an_event() {
    netlab::run(|_| {
        let session = session(&TestHost::registered());
        let mut network = network();
        network.private_dns = PrivateDns::Strict { host: "dns.example".into() };
        wait(session.network_changed(network.clone()));
        status(&session, |status| !status.warnings.is_empty())?;
        network.private_dns = PrivateDns::Off;
        wait(session.network_changed(network));
        status(&session, |status| status.warnings.is_empty())?;

        let wrong = ManagedConfig { auto_connect: Some(9999), ..ManagedConfig::default() };
        let session =
            Session::new(SessionConfig { managed: Some(wrong), ..config() }, TestHost::registered())?;
        status(&session, |status| !status.warnings.is_empty())?;
        wait(session.set_managed(None))?;
        status(&session, |status| status.warnings.is_empty())?;
        Ok(())
    });
}

#[test]
fn names_and_addresses_are_explained() {
    netlab::run(|_| {
        let session = session(&TestHost::registered());
        let inside = wait(session.explain_address("198.51.100.1".into()))?;
        let outside = wait(session.explain_address(" 192.168.1.1".into()))?;
        ensure!(inside.way == weft_ffi::Way::Tunnel && inside.entry.is_none(), "{inside:?}");
        ensure!(outside.way == weft_ffi::Way::Outside && !outside.why.is_empty(), "{outside:?}");
        ensure!(outside.entry.as_deref() == Some("192.168.0.0/16"), "{outside:?}");
        let name = wait(session.explain_host("WWW.Example.com.".into()))?;
        ensure!(name.name == "www.example.com" && name.entry.is_none() && !name.why.is_empty(), "{name:?}");
        Ok(())
    });
}

#[test]
fn an_unexpected_exception_of_the_host_has_its_text() {
    let error = HostError::from(uniffi::UnexpectedUniFFICallbackError::new("KeyError: 'x'"));
    assert_eq!(error.to_string(), "KeyError: 'x'");
}

#[test]
fn events_say_what_the_state_says() {
    netlab::run(|_| {
        let session = session(&TestHost::registered());
        wait(session.connect())?;
        let event = loop {
            match wait(session.next_event()).unwrap() {
                Event::Status { status } => break status,
                Event::Panicked { detail } => anyhow::bail!("{detail}"),
                _ => {}
            }
        };
        ensure!(event.state == State::Connecting && event.state_text == "Connecting", "{event:?}");
        Ok(())
    });
}

#[test]
fn a_managed_configuration_that_cannot_be_is_a_warning_and_no_dead_tunnel() {
    netlab::run(|_| {
        let wrong = ManagedConfig { auto_connect: Some(9999), ..ManagedConfig::default() };
        let config = SessionConfig { managed: Some(wrong), ..config() };
        let session = Session::new(config, TestHost::registered())?;
        let warned = || {
            let status = wait(session.status()).unwrap_or_else(|| panic!("the session has ended"));
            status.warnings.iter().any(|warning| warning.contains("managed configuration"))
        };
        ensure!(warned());
        wait(session.connect())?;
        plan(&session, |plan| plan.interface.is_some())?;
        wait(session.set_managed(Some(ManagedConfig::default())))?;
        ensure!(!warned());
        Ok(())
    });
}

#[test]
fn an_interface_that_was_taken_away_ends_under_a_locked_switch() {
    netlab::run(|_| {
        let locked = ManagedConfig { switch_locked: Some(true), ..ManagedConfig::default() };
        let config = SessionConfig { managed: Some(locked), ..config() };
        let session = Session::new(config, TestHost::registered())?;
        wait(session.connect())?;
        plan(&session, |plan| plan.interface.is_some())?;
        let refused = wait(session.disconnect());
        ensure!(matches!(refused, Err(WeftError::Forbidden { .. })), "{refused:?}");
        wait(session.interface_revoked());
        let down = plan(&session, |plan| plan.interface.is_none())?;
        wait(session.acknowledge_plan(down.number, None));
        status(&session, is_in(State::Disconnected))?;
        Ok(())
    });
}
