//! `weft dns log --follow` beside a daemon that answers names.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::process::ExitStatusExt as _;

use anyhow::{Context, Result, ensure};
use netlab::{Process, Signal};
use weft_e2e::dns::{Query, kind};
use weft_e2e::{PATIENCE, Setup, weft};

const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 2, 2)), 53);
/// Answered by the proxy itself, at once.
const SELF_CHECK: &str = "connectivity-check.weftd";
/// Far more than the log, the socket and the pipe hold together.
const FLOOD: usize = 8000;

/// A world with a connected device, and a `weft` that follows its log.
struct World {
    setup: Setup,
    client: UdpSocket,
}

impl World {
    fn new(lab: &netlab::Lab) -> Result<Self> {
        let setup = Setup::connected(lab, r#"{"fallback_domains": []}"#)?;
        let client = setup.device.host().inside(|| UdpSocket::bind("127.0.0.1:0"))??;
        client.connect(PROXY)?;
        client.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { setup, client })
    }

    fn follow(&self, words: &[&str]) -> Result<Process> {
        let mut command = self.setup.device.host().command(weft()?);
        command.args(["dns", "log", "--follow"]).args(words);
        self.setup.device.host().spawn(command)
    }

    fn ask(&self, name: &str) -> Result<()> {
        self.client.send(&Query::new(name, kind::A).bytes(7))?;
        let length = self.client.recv(&mut [0; 2048]).with_context(|| format!("{name}: no answer"))?;
        ensure!(length > 12, "{name}: no DNS message");
        Ok(())
    }
}

/// The names that a follower has printed, oldest first.
fn names(follower: &Process) -> Vec<String> {
    let printed = follower.stdout();
    printed.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned).collect()
}

#[test]
fn queries_are_shown_as_they_come_once_the_log_is_on() {
    netlab::run(|lab| {
        let mut world = World::new(lab)?;
        let mut plain = world.follow(&[])?;
        plain.wait_for_line("`weft dns log --on`", PATIENCE)?;
        world.ask("secret.example")?;
        world.setup.device.weft(&["dns", "log", "--on"])?;
        world.ask(SELF_CHECK)?;
        plain.wait_for_line(SELF_CHECK, PATIENCE)?;
        let json = world.follow(&["--json"])?;
        json.wait_for_line(SELF_CHECK, PATIENCE)?;

        // What was disconnected in between goes on.
        world.setup.device.disconnect()?;
        world.setup.device.connect()?;
        world.ask("blocked.example")?;
        plain.wait_for_line("blocked.example A", PATIENCE)?;
        let line = json.wait_for_line("blocked.example", PATIENCE)?;
        let entry: serde_json::Value = serde_json::from_str(&line)?;
        assert_eq!((&entry["name"], &entry["kind"]), (&"blocked.example".into(), &"A".into()), "{entry}");
        assert!(entry["error"]["code"].is_u64(), "why it is blocked: {entry}");
        assert!(json.stdout().lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));

        world.setup.device.weft(&["dns", "log", "--off"])?;
        netlab::eventually(PATIENCE, "the follower is told that it is off", || {
            plain.stderr().matches("the DNS log is off").count() == 2
        })?;
        world.ask("secret.example")?;
        world.setup.device.weft(&["dns", "log", "--on"])?;
        world.ask("last.example")?;
        plain.wait_for_line("last.example", PATIENCE)?;
        json.wait_for_line("last.example", PATIENCE)?;
        for follower in [&plain, &json] {
            assert!(!follower.stdout().contains("secret.example"), "{}", follower.stdout());
        }

        plain.signal(Signal::INT)?;
        assert_eq!(plain.wait(PATIENCE)?.signal(), Some(Signal::INT.as_raw()));
        assert!(plain.stdout().ends_with('\n'), "whole lines: {}", plain.stdout());
        world.setup.device.daemon()?.terminate(PATIENCE)?;
        let ended = json.output(PATIENCE)?;
        assert_eq!(ended.status.code(), Some(1));
        assert!(ended.stderr.contains("weftd closed the connection"), "{}", ended.stderr);
        Ok(())
    });
}

#[test]
fn a_follower_that_pauses_is_told_how_many_queries_it_missed() {
    netlab::run(|lab| {
        let world = World::new(lab)?;
        world.setup.device.weft(&["dns", "log", "--on"])?;
        world.ask("first.example")?;
        let mut follower = world.follow(&["--on"])?;
        follower.wait_for_line("first.example", PATIENCE)?;
        assert_eq!(names(&follower), ["first.example"]);
        follower.signal(Signal::STOP)?;
        for _ in 0..FLOOD {
            world.ask(SELF_CHECK)?;
        }
        follower.signal(Signal::CONT)?;
        world.ask("last.example")?;
        follower.wait_for_line("last.example", PATIENCE)?;
        let said = follower.wait_for_line("are not shown", PATIENCE)?;
        let told: Vec<usize> = follower
            .stderr()
            .lines()
            .filter_map(|line| line.strip_prefix("weft: ")?.split(' ').next()?.parse().ok())
            .collect();
        let (missed, shown) = (told.iter().sum::<usize>(), names(&follower).len());
        assert!(missed > 0 && shown > 2, "{said}");
        assert_eq!(missed + shown, FLOOD + 2, "{told:?}");
        Ok(())
    });
}
