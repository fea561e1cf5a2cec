//! Enrolment that comes to nothing, and leaving.

use std::future::{Future, poll_fn};
use std::net::TcpListener;
use std::sync::Arc;
use std::task::Poll;

use anyhow::ensure;
use weft_ffi::{Enrolment, WeftError};

use crate::support::{Manner, TestHost, eventually, held, nothing_is_left_of, session, wait};

fn enrolment(url: String) -> Enrolment {
    Enrolment { url, token: "token".into(), ca_fingerprint: Some("ab".repeat(32)), device_name: None }
}

#[test]
fn what_is_wrong_is_named_before_anybody_is_asked() {
    netlab::run(|_| {
        let session = session(&TestHost::new());
        let right = enrolment("https://127.0.0.1:9".into());
        for wrong in [
            Enrolment { url: "http://127.0.0.1".into(), ..right.clone() },
            Enrolment { token: "two words".into(), ..right.clone() },
            Enrolment { ca_fingerprint: Some("5f1c".into()), ..right.clone() },
            Enrolment { device_name: Some(String::new()), ..right.clone() },
        ] {
            let refused = wait(session.enrol(wrong));
            ensure!(matches!(refused, Err(WeftError::InvalidInput { .. })), "{refused:?}");
        }
        let gone = wait(session.enrol(right));
        ensure!(matches!(gone, Err(WeftError::Unreachable { .. })), "{gone:?}");
        Ok(())
    });
}

#[test]
fn a_socket_that_the_host_does_not_protect_is_not_used() {
    netlab::run(|lab| {
        let host = lab.host("phone").build()?;
        host.inside(|| {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let host = TestHost::new();
            host.set("protect", Manner::Throws);
            let session = session(&host);
            let refused = wait(session.enrol(enrolment(format!("https://{}", listener.local_addr()?))));
            let Err(WeftError::Unreachable { detail }) = refused else { anyhow::bail!("{refused:?}") };
            ensure!(detail.contains("no protect today"), "{detail}");
            listener.set_nonblocking(true)?;
            ensure!(listener.accept().is_err(), "it was used all the same");
            Ok(())
        })?
    });
}

#[test]
fn a_gateway_that_hangs_is_left_when_the_session_closes() {
    netlab::run(|lab| {
        let host = lab.host("phone").build()?;
        host.inside(|| {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let url = format!("https://{}", listener.local_addr()?);
            let before = held();
            let host = TestHost::new();
            let session = Arc::new(session(&host));
            let enrolling = Arc::clone(&session);
            let first = enrolment(url.clone());
            let enrolled = std::thread::spawn(move || wait(enrolling.enrol(first)));
            eventually(|| host.count("protect") > 0)?;
            for second in [wait(session.enrol(enrolment(url))), wait(session.leave())] {
                ensure!(matches!(second, Err(WeftError::WrongOrder { .. })), "{second:?}");
            }
            wait(session.close());
            let ended = enrolled.join().unwrap();
            ensure!(matches!(ended, Err(WeftError::Closed { .. })), "{ended:?}");
            ensure!(host.secrets.lock().unwrap().is_empty());
            drop((session, host));
            nothing_is_left_of(before)
        })?
    });
}

#[test]
fn leaving_goes_on_where_its_caller_goes_away() {
    netlab::run(|_| {
        let host = TestHost::registered();
        let session = session(&host);
        host.set("store_secret", Manner::Hangs);
        let mut leaving = Box::pin(session.leave());
        wait(poll_fn(|context| {
            if host.count("store_secret") > 0 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            leaving.as_mut().poll(context).map(drop)
        }));
        drop(leaving);
        let second = wait(session.enrol(enrolment("https://127.0.0.1:9".into())));
        ensure!(matches!(second, Err(WeftError::WrongOrder { .. })), "{second:?}");
        host.let_go();
        eventually(|| matches!(wait(session.leave()), Err(WeftError::NotRegistered { .. })))?;
        ensure!(host.secrets.lock().unwrap().is_empty());
        let unknown = wait(session.refresh_profile());
        ensure!(matches!(unknown, Err(WeftError::NotRegistered { .. })), "{unknown:?}");
        Ok(())
    });
}
