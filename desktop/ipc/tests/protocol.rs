//! Whole connections: what a client may say, and what it is told when it says something else.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::{Gid, Uid};
use weft_ipc::{
    Access, Client, ClientError, Connection, Failure, FrameBuffer, Listener, MAX_FRAME, Permission, Request,
    Response,
};
use weft_model::{Secret, UserError};

/// A daemon that answers every request with Done, and counts them.
struct Daemon {
    path: PathBuf,
    served: Arc<AtomicUsize>,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start(access: Access) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weftd.sock");
        let served = Arc::new(AtomicUsize::default());
        let daemon = Self { path: path.clone(), served: Arc::clone(&served), _directory: directory };
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = Listener::bind(&path, &access).unwrap();
                ready.send(()).unwrap();
                while let Ok(stream) = listener.accept().await {
                    let Ok(mut connection) = Connection::open(stream, &access).await else { continue };
                    while let Ok(Some(request)) = connection.next_request().await {
                        served.fetch_add(1, Ordering::SeqCst);
                        let answer = match request {
                            Request::Connect => Response::Failure(UserError::RegistrationMissing.into()),
                            _ => Response::Done,
                        };
                        connection.send(&answer).await.unwrap();
                    }
                }
            });
        });
        is_ready.recv().unwrap();
        daemon
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

/// Root, or whoever runs the tests by his group.
fn for_us() -> Access {
    Access { group_name: "weft".into(), group: Some(rustix::process::getegid().as_raw()) }
}

fn raw(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn frame(json: &str) -> Vec<u8> {
    let mut frame = u32::try_from(json.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(json.as_bytes());
    frame
}

/// Everything that the daemon says until it closes the connection.
fn answers(mut stream: &UnixStream) -> Vec<String> {
    let mut bytes = Vec::new();
    // A reset says no more than that the daemon did not read on.
    let _ = stream.read_to_end(&mut bytes);
    let mut buffer = FrameBuffer::default();
    buffer.push(&bytes);
    let mut answers = Vec::new();
    while let Some(frame) = buffer.next_frame().unwrap() {
        answers.push(String::from_utf8(frame.to_vec()).unwrap());
    }
    answers
}

#[test]
fn requests_are_answered_one_by_one() {
    let daemon = Daemon::start(for_us());
    let mut client = Client::connect(&daemon.path).unwrap();
    assert_eq!(client.daemon_version(), env!("CARGO_PKG_VERSION"));
    assert_eq!(client.request(&Request::Status).unwrap(), Response::Done);
    let refused = client.request(&Request::Connect).unwrap_err();
    let missing = Failure::User { error: UserError::RegistrationMissing };
    assert!(matches!(refused, ClientError::Failure(failure) if failure == missing));
    assert_eq!(client.request(&Request::Disconnect).unwrap(), Response::Done);
    assert_eq!(daemon.served(), 3);
}

#[test]
fn the_socket_is_for_root_and_the_group_alone() {
    let daemon = Daemon::start(for_us());
    assert_eq!(std::fs::metadata(&daemon.path).unwrap().permissions().mode() & 0o777, 0o660);
    let nobody = Access { group_name: "weft".into(), group: None };
    let daemon = Daemon::start(nobody);
    assert_eq!(std::fs::metadata(&daemon.path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_socket_left_behind_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weftd.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(matches!(Client::connect(&path), Err(ClientError::NotRunning { .. })));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = Listener::bind(&path, &for_us()).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        drop(listener);
        assert!(!path.exists());
    });
}

#[test]
fn what_is_no_request_gets_a_named_failure_and_changes_nothing() {
    let hello = frame(r#"{"weft":1,"version":"0"}"#);
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("not JSON", frame("hello"), "malformed"),
        ("not UTF-8", [&[0, 0, 0, 2][..], &[0xff, 0xfe]].concat(), "malformed"),
        ("an unknown request", frame(r#""reboot""#), "another shape (line 1, column "),
        (
            "an unknown parameter",
            frame(r#"{"set_mode":{"mode":"warp","force":true}}"#),
            "another shape (line 1, column ",
        ),
        ("a bad parameter", frame(r#"{"set_mode":{"mode":"magic"}}"#), "another shape (line 1, column "),
        ("a missing parameter", frame(r#"{"log":{"lines":1}}"#), "another shape (line 1, column "),
        ("a number out of range", frame(r#"{"log":{"lines":-1,"follow":false}}"#), "malformed"),
        ("two requests in one", frame(r#"{"connect":null,"disconnect":null}"#), "malformed"),
        ("a response", frame(r#"{"log":[]}"#), "malformed"),
        ("trailing bytes", frame(r#""status" "status""#), "not JSON (line 1, column "),
        ("an empty frame", frame(""), "malformed"),
        ("too long", (MAX_FRAME as u32 + 1).to_be_bytes().to_vec(), "1048577 bytes"),
    ];
    let daemon = Daemon::start(for_us());
    for (what, bytes, named) in cases {
        let stream = raw(&daemon.path);
        (&stream).write_all(&[&hello[..], &bytes[..]].concat()).unwrap();
        let answers = answers(&stream);
        assert_eq!(answers.len(), 2, "{what}: {answers:?}");
        assert!(answers[1].contains(r#""failure":"malformed""#), "{what}: {answers:?}");
        assert!(answers[1].contains(named), "{what}: {answers:?}");
        assert!(!answers[1].contains('\n') && !answers[1].contains("\\n"), "{what}: {answers:?}");
    }
    assert_eq!(daemon.served(), 0);
    let mut client = Client::connect(&daemon.path).unwrap();
    assert_eq!(client.request(&Request::Status).unwrap(), Response::Done);
}

#[test]
fn a_client_that_stops_in_the_middle_of_a_frame_is_let_go() {
    let daemon = Daemon::start(for_us());
    let stream = raw(&daemon.path);
    let hello = frame(r#"{"weft":1,"version":"0"}"#);
    (&stream).write_all(&[&hello[..], &[0, 0, 0, 9, b'"', b's']].concat()).unwrap();
    let answers = answers(&stream);
    assert_eq!(answers.len(), 2, "its hello was answered, and the connection ended: {answers:?}");
    assert!(answers[1].contains("silent for too long"), "{answers:?}");
    assert_eq!(daemon.served(), 0);
    assert_eq!(Client::connect(&daemon.path).unwrap().request(&Request::Status).unwrap(), Response::Done);
}

#[test]
fn the_first_frame_must_be_a_hello_of_the_same_protocol() {
    let daemon = Daemon::start(for_us());
    let cases = [
        (r#"{"weft":2,"version":"9.9.9"}"#, r#""failure":"version""#),
        (r#"{"weft":0,"version":""}"#, r#""failure":"version""#),
        (r#""status""#, r#""failure":"malformed""#),
        (r#"{"weft":1,"version":"0","extra":1}"#, r#""failure":"malformed""#),
    ];
    for (hello, named) in cases {
        let stream = raw(&daemon.path);
        (&stream).write_all(&frame(hello)).unwrap();
        let answers = answers(&stream);
        assert_eq!(answers.len(), 1, "{hello}: {answers:?}");
        assert!(answers[0].contains(named), "{hello}: {answers:?}");
    }
    let stream = raw(&daemon.path);
    (&stream).write_all(&u32::MAX.to_be_bytes()).unwrap();
    let answers = answers(&stream);
    assert!(answers.len() == 1 && answers[0].contains("4294967295 bytes"), "{answers:?}");
}

/// Connects as another user: as one with `groups` where root runs the tests, else as whoever does.
fn connect_as(path: &Path, groups: &[u32]) -> Result<String, ClientError> {
    let (path, groups) = (path.to_owned(), groups.to_vec());
    let connect = move || {
        if rustix::process::geteuid().is_root() {
            // Linux keeps credentials by thread; this one ends with the test.
            let groups: Vec<Gid> = groups.into_iter().map(Gid::from_raw).collect();
            rustix::thread::set_thread_groups(&groups).unwrap();
            let (uid, gid) = (Uid::from_raw(65534), Gid::from_raw(65534));
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        }
        Client::connect(&path).map(|client| client.daemon_version().to_owned())
    };
    std::thread::spawn(connect).join().unwrap()
}

#[test]
fn a_stranger_is_refused_by_the_socket_and_by_the_daemon() {
    let group = rustix::process::geteuid().is_root().then_some(54321);
    let daemon = Daemon::start(Access { group_name: "weft".into(), group });
    let directory = daemon.path.parent().unwrap();
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    if rustix::process::geteuid().is_root() {
        assert!(matches!(connect_as(&daemon.path, &[54320]), Err(ClientError::Denied { .. })));
        assert_eq!(connect_as(&daemon.path, &[4, 54321]).unwrap(), env!("CARGO_PKG_VERSION"));
    }
    std::fs::set_permissions(&daemon.path, PermissionsExt::from_mode(0o666)).unwrap();
    let denied = connect_as(&daemon.path, &[54320]).unwrap_err();
    assert!(matches!(denied, ClientError::Failure(Failure::Denied { .. })), "{denied:?}");
    assert!(denied.to_string().contains("group weft"), "{denied}");
    assert_eq!(daemon.served(), 0);
}

#[test]
fn names_are_told_to_those_alone_who_may_change_the_device() {
    let name = || "db.corp".parse().unwrap();
    let cases = [
        (Request::Stats, Permission::Read),
        (Request::DnsStatus, Permission::Read),
        (Request::DnsFallback, Permission::Read),
        (Request::DnsLog { enable: None }, Permission::Write),
        (Request::DnsLog { enable: Some(true) }, Permission::Write),
        (Request::DnsLogFollow { entries: 10 }, Permission::Write),
        (Request::DnsLookup { name: name(), kind: 1 }, Permission::Write),
        (Request::DnsFlush, Permission::Write),
    ];
    for (request, permission) in cases {
        assert_eq!(request.permission(), permission, "{request:?}");
        assert!(!request.name().contains("corp"), "the daemon logs it");
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request, "{text}");
    }
}

#[test]
fn no_secret_prints_itself() {
    let requests = [
        Request::Register {
            url: "https://gateway.example".into(),
            token: Secret::from("hunter2".to_owned()),
            ca_fingerprint: None,
            name: None,
        },
        Request::ImportRegistration {
            name: "wg".into(),
            text: Secret::from("PrivateKey = hunter2".to_owned()),
        },
    ];
    for request in requests {
        assert!(!format!("{request:?}").contains("hunter2"), "{request:?}");
        assert!(!request.name().contains("hunter2"));
    }
}

#[test]
fn every_answer_survives_the_way() {
    let failures = [
        Failure::Malformed { detail: "x".into() },
        Failure::Version { version: "1".into() },
        Failure::Denied { group: "weft".into() },
        Failure::Busy { detail: "x".into() },
        Failure::ShuttingDown,
        Failure::Registered,
        Failure::File { detail: "x".into() },
        UserError::EndpointUnreachable.into(),
        UserError::Forbidden { detail: "x".into() }.into(),
    ];
    for failure in failures {
        let text = serde_json::to_string(&Response::Failure(failure.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Response>(&text).unwrap(), Response::Failure(failure), "{text}");
    }
}

/// What a reader that pauses is sent: more than a socket holds.
fn long() -> Response {
    Response::Noted(vec!["x".repeat(MAX_FRAME / 2)])
}

#[test]
fn whoever_follows_may_pause_and_whoever_asked_may_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weftd.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = Listener::bind(&path, &for_us()).unwrap();
        let clients = std::thread::spawn(move || [(); 2].map(|()| Client::connect(&path).unwrap()));
        let mut connections = Vec::new();
        for _ in 0..2 {
            connections.push(Connection::open(listener.accept().await.unwrap(), &for_us()).await.unwrap());
        }
        let [mut follower, asker] = clients.join().unwrap();
        let [following, asked] = &mut connections[..] else { panic!() };
        let long = long();
        let mut sending = std::pin::pin!(async {
            for _ in 0..4 {
                following.send_patiently(&long).await.unwrap();
            }
        });
        let within_time = async { while asked.send(&long).await.is_ok() {} };
        tokio::select! {
            () = &mut sending => panic!("nobody reads"),
            () = within_time => {}
        }
        let reading = std::thread::spawn(move || (0..4).all(|_| follower.next_response(None).is_ok()));
        sending.await;
        assert!(reading.join().unwrap());
        drop(asker);
    });
}

#[test]
fn whoever_followed_and_went_away_is_noticed() {
    let (client, daemon) = UnixStream::pair().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        daemon.set_nonblocking(true).unwrap();
        (&client).write_all(&frame(r#"{"weft":1,"version":"0"}"#)).unwrap();
        let stream = tokio::net::UnixStream::from_std(daemon).unwrap();
        let mut connection = Connection::open(stream, &for_us()).await.unwrap();
        let long = long();
        let sending = async { while connection.send_patiently(&long).await.is_ok() {} };
        let leaving = tokio::task::spawn_blocking(move || {
            (&client).read_exact(&mut [0; 4096]).unwrap();
        });
        sending.await;
        leaving.await.unwrap();
    });
}
