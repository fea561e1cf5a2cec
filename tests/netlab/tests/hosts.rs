//! Hosts, wires, programs and captures.
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::Result;
use netlab::{End, Host, ICMP, Lab, Link, UDP, eventually};

const SOON: Duration = Duration::from_secs(10);

fn pair(lab: &Lab) -> Result<(Host, Host)> {
    let (left, right) = (lab.host("left").build()?, lab.host("right").build()?);
    Link::new(
        End::new(&left, "eth0").address("10.0.0.1/24").address("fd00::1/64"),
        End::new(&right, "eth0").address("10.0.0.2/24").address("fd00::2/64"),
    )?;
    Ok((left, right))
}

#[test]
fn hosts_reach_each_other_in_both_families() {
    netlab::run(|lab| {
        let (left, right) = pair(lab)?;
        left.run(["ping", "-c1", "-W5", "10.0.0.2"])?;
        right.run(["ping", "-c1", "-W5", "fd00::1"])?;
        Ok(())
    });
}

#[test]
fn a_capture_has_exactly_what_was_sent() {
    netlab::run(|lab| {
        let (left, right) = pair(lab)?;
        let (there, here) = (right.capture("eth0")?, left.capture("eth0")?);
        let sent = 50;
        left.inside(|| -> Result<()> {
            let socket = std::net::UdpSocket::bind("10.0.0.1:5000")?;
            for number in 0..sent {
                socket.send_to(&[number; 100], "10.0.0.2:6000")?;
            }
            Ok(())
        })??;
        for capture in [&there, &here] {
            capture.settle()?;
            let right_address = Ipv4Addr::new(10, 0, 0, 2);
            let seen = capture.matching(|seen| seen.is_to(right_address) && seen.has_port(UDP, 6000));
            assert_eq!(seen.len(), usize::from(sent), "{capture}");
            for (number, seen) in seen.iter().enumerate() {
                assert_eq!(seen.data(), vec![number as u8; 100]);
                assert_eq!(seen.source_port, Some(5000));
                assert_eq!(seen.source, Some(IpAddr::from([10, 0, 0, 1])));
            }
        }
        assert!(here.matching(|seen| seen.has_port(UDP, 6000)).iter().all(|seen| seen.outgoing));
        assert!(there.matching(|seen| seen.has_port(UDP, 6000)).iter().all(|seen| !seen.outgoing));
        // Nobody listens there, so the kernel has answered.
        assert!(there.count(|seen| seen.protocol == Some(ICMP)) > 0);
        Ok(())
    });
}

#[test]
fn a_host_has_its_own_resolv_conf_which_can_be_renamed_over() {
    let before = std::fs::read("/etc/resolv.conf").ok();
    netlab::run(|lab| {
        let host = lab.host("one").resolver(Ipv4Addr::new(10, 0, 0, 53).into()).build()?;
        let other = lab.host("two").build()?;
        assert_eq!(host.read_file("/etc/resolv.conf")?, "nameserver 10.0.0.53\n");
        host.sh("echo new > /etc/resolv.new; mv /etc/resolv.new /etc/resolv.conf; chmod 600 /etc/hosts")?;
        assert_eq!(host.read_file("/etc/resolv.conf")?, "new\n");
        assert_eq!(other.read_file("/etc/resolv.conf")?, "");
        host.write_file("/var/lib/weft/state", "kept")?;
        host.write_file("/run/weft/socket", "kept")?;
        assert!(other.read_file("/var/lib/weft/state").is_err());
        Ok(())
    });
    assert_eq!(std::fs::read("/etc/resolv.conf").ok(), before);
}

#[test]
fn a_program_is_watched_and_ended() {
    netlab::run(|lab| {
        let host = lab.host("one").build()?;
        let mut command = host.command("sh");
        command.args(["-c", "echo ready; echo oops >&2; sleep 1000 & wait"]);
        let mut program = host.spawn(command)?;
        assert_eq!(program.wait_for_line("rea", SOON)?, "ready");
        assert_eq!(program.wait_for_line("oops", SOON)?, "oops");
        assert!(program.wait(Duration::ZERO).is_err());
        assert!(!program.terminate(SOON)?.success());
        assert!(program.kill9().is_err());
        drop(program);
        eventually(SOON, "the end of its child", || {
            let left = host.attempt(["pgrep", "-x", "sleep", "-r", "S,R"]).map(|output| output.stdout);
            left.is_ok_and(|left| left.is_empty())
        })?;
        let failed = host.run(["sh", "-c", "echo why; exit 3"]).unwrap_err().to_string();
        assert!(failed.contains("why") && failed.contains("exit status: 3"), "{failed}");
        Ok(())
    });
}

#[test]
fn rp_filter_is_strict_where_asked() {
    netlab::run(|lab| {
        let strict = lab.host("strict").strict_rp_filter().build()?;
        let lax = lab.host("lax").build()?;
        assert_eq!(strict.read_file("/proc/sys/net/ipv4/conf/all/rp_filter")?, "1\n");
        assert_eq!(lax.read_file("/proc/sys/net/ipv4/conf/all/rp_filter")?, "0\n");
        Ok(())
    });
}
