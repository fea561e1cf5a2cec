//! Ends: many sessions, two at once, close in the midst of things, objects that are only dropped.

use std::sync::Arc;

use anyhow::ensure;
use weft_ffi::State;

use crate::support::{TestHost, held, nothing_is_left_of, plan, session, status, wait};

#[test]
fn a_hundred_sessions_leave_nothing() {
    netlab::run(|_| {
        let before = held();
        for round in 0..100 {
            let session = session(&TestHost::registered());
            let flow = session.packet_flow()?;
            if round % 2 == 0 {
                wait(session.connect())?;
                let given = plan(&session, |plan| plan.interface.is_some())?;
                wait(session.acknowledge_plan(given.number, None));
            }
            wait(session.close());
            drop((flow, session));
            nothing_is_left_of(before)?;
        }
        nothing_is_left_of(before)
    });
}

#[test]
fn sessions_that_are_only_dropped_leave_nothing_either() {
    netlab::run(|_| {
        let before = held();
        for _ in 0..20 {
            let session = session(&TestHost::registered());
            let _flow = session.packet_flow()?;
            wait(session.connect())?;
            plan(&session, |plan| plan.interface.is_some())?;
        }
        nothing_is_left_of(before)
    });
}

#[test]
fn two_sessions_know_nothing_of_each_other() {
    netlab::run(|_| {
        let before = held();
        let (one, two) = (session(&TestHost::registered()), session(&TestHost::registered()));
        let flows = (one.packet_flow()?, two.packet_flow()?);
        ensure!(flows.0.handle() != flows.1.handle());
        wait(one.connect())?;
        plan(&one, |plan| plan.interface.is_some())?;
        ensure!(wait(two.status()).is_some_and(|status| status.state == State::Disconnected));
        wait(one.close());
        ensure!(flows.0.send(&[0x45], vec![0, 1]).is_err() && flows.1.send(&[0x45], vec![0, 1]).is_ok());
        wait(two.connect())?;
        plan(&two, |plan| plan.interface.is_some())?;
        wait(two.close());
        drop((one, two, flows));
        nothing_is_left_of(before)
    });
}

#[test]
fn close_in_the_midst_of_a_connect_ends_everything() {
    netlab::run(|_| {
        let before = held();
        let session = Arc::new(session(&TestHost::registered()));
        wait(session.connect())?;
        let events = Arc::clone(&session);
        let pulled = std::thread::spawn(move || while wait(events.next_event()).is_some() {});
        let closes: Vec<_> = (0..3)
            .map(|_| {
                let session = Arc::clone(&session);
                std::thread::spawn(move || wait(session.close()))
            })
            .collect();
        for close in closes {
            close.join().unwrap();
        }
        pulled.join().unwrap();
        drop(session);
        nothing_is_left_of(before)
    });
}

#[test]
fn a_session_may_be_dropped_by_its_own_host() {
    netlab::run(|_| {
        let before = held();
        let host = TestHost::registered();
        let session = Arc::new(session(&host));
        wait(session.connect())?;
        status(&session, |status| status.state != State::Disconnected)?;
        let other = Arc::clone(&session);
        *host.drop_inside.lock().unwrap() = Some(session);
        // The future is the last that holds the session besides the host.
        wait(other.woke());
        drop(other);
        drop(host);
        nothing_is_left_of(before)
    });
}
