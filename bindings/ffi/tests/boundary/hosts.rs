//! A host that throws, panics or never returns.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_ffi::{Host, ServiceMode, Session, State, WeftError};

use crate::support::{
    Held, Manner, TestHost, config, eventually, held, is_in, nothing_is_left_of, plan, session, status, wait,
    within,
};

/// Longer than any deadline of a call of the host.
const LONG: Duration = Duration::from_secs(30);

fn start(host: &Arc<TestHost>) -> Result<Session, WeftError> {
    Session::new(config(), Arc::clone(host) as Arc<dyn Host>)
}

#[test]
fn a_host_that_does_not_give_its_secret_is_an_error_of_the_start() {
    netlab::run(|_| {
        let before = held();
        for (manner, said) in
            [(Manner::Throws, "no load_secret today"), (Manner::Panics, "load_secret panics")]
        {
            let host = TestHost::registered();
            host.set("load_secret", manner);
            let Err(WeftError::Host { detail }) = start(&host) else { anyhow::bail!("{manner:?}") };
            ensure!(detail.contains(said) && detail.starts_with("load_secret"), "{detail}");
        }
        nothing_is_left_of(before)
    });
}

#[test]
fn a_host_that_never_returns_costs_one_thread_and_no_time_later() {
    netlab::run(|_| {
        let before = held();
        let host = TestHost::registered();
        let session = start(&host)?;
        host.set("network", Manner::Hangs);
        // The host is asked for the network first, and the device connects all the same.
        within(LONG, session.connect())??;
        plan(&session, |plan| plan.interface.is_some())?;
        host.set("store_secret", Manner::Serves);
        // What comes later does not wait: the way is blocked.
        let stored = host.count("store_secret");
        wait(session.set_service_mode(ServiceMode::DnsOnly))?;
        let warned = status(&session, |status| !status.warnings.is_empty())?;
        let named = |warning: &String| warning.contains("an earlier call, network, has not returned");
        ensure!(warned.warnings.iter().any(named), "{:?}", warned.warnings);
        ensure!(host.count("store_secret") == stored, "a call was begun behind one that hangs");
        within(LONG, session.close())?;
        drop(session);
        let one_more = Held { threads: before.threads + 1, ..before };
        nothing_is_left_of(one_more)?;
        ensure!(held() == one_more, "the thread that hangs is gone: {:?}", held());
        host.let_go();
        nothing_is_left_of(before)
    });
}

#[test]
fn a_host_that_stores_slowly_holds_nobody_up_and_gets_the_newest() {
    netlab::run(|_| {
        let host = TestHost::registered();
        let session = start(&host)?;
        host.set("store_secret", Manner::Hangs);
        wait(session.set_service_mode(ServiceMode::DnsOnly))?;
        eventually(|| host.count("store_secret") > 0)?;
        let told = wait(session.status()).context("the session has ended")?;
        ensure!(told.warnings.is_empty(), "the write was waited for: {:?}", told.warnings);
        for mode in [ServiceMode::TrafficAndDns, ServiceMode::DnsOnly, ServiceMode::TrafficAndDns] {
            wait(session.set_service_mode(mode))?;
        }
        host.set("store_secret", Manner::Serves);
        host.let_go();
        // What is under way is written before the session ends.
        wait(session.close());
        ensure!(host.count("store_secret") == 2, "{} writes", host.count("store_secret"));
        drop(session);
        let settings = wait(start(&host)?.settings()).context("no settings")?;
        ensure!(settings.service_mode == ServiceMode::TrafficAndDns, "{settings:?}");
        Ok(())
    });
}

#[test]
fn a_host_that_comes_back_is_asked_again() {
    netlab::run(|_| {
        let host = TestHost::registered();
        let session = start(&host)?;
        host.set("network", Manner::Hangs);
        within(LONG, session.connect())??;
        host.set("network", Manner::Serves);
        host.let_go();
        let asked = host.count("network");
        eventually(|| {
            wait(session.woke());
            host.count("network") > asked
        })?;
        wait(session.close());
        Ok(())
    });
}

#[test]
fn a_host_that_throws_does_not_keep_the_device_from_connecting() {
    netlab::run(|_| {
        for manner in [Manner::Throws, Manner::Panics] {
            let host = TestHost::registered();
            for call in ["network", "protect", "store_secret"] {
                host.set(call, manner);
            }
            let session = session(&host);
            wait(session.connect())?;
            plan(&session, |plan| plan.interface.is_some())?;
            wait(session.set_service_mode(ServiceMode::DnsOnly))?;
            let warned = status(&session, |status| !status.warnings.is_empty())?;
            ensure!(warned.warnings.iter().any(|warning| warning.contains("store")), "{:?}", warned.warnings);
            wait(session.disconnect())?;
            status(&session, is_in(State::Disconnected))?;
            wait(session.close());
        }
        Ok(())
    });
}

#[test]
fn what_is_stored_and_damaged_is_a_device_that_is_not_registered() {
    netlab::run(|_| {
        let host = TestHost::new();
        host.secrets.lock().unwrap().insert("state".into(), b"{\"registration\":\"hunter2\"}".to_vec());
        let session = session(&host);
        ensure!(wait(session.registration()).is_none());
        let warnings = wait(session.status()).map(|status| status.warnings).unwrap_or_default();
        ensure!(warnings.iter().any(|warning| warning.contains("enrol")), "{warnings:?}");
        ensure!(!warnings.concat().contains("hunter2"));
        Ok(())
    });
}
