//! resolv.conf on a disk: whatever stands there comes back byte for byte.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fs;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use netlab::{Host, Lab};
use weft_model::{DNS_PROXY_ADDRESSES, DnsPlan};
use weft_platform::{
    Before, DnsChange, DnsRecord, DnsStanding, FileChange, Platform, PlatformError, Restored, who_holds_port,
};

const PATH: &str = "/etc/resolv.conf";
const FORMER: &str = "# from the router\nnameserver 192.0.2.53\nsearch lan\noptions timeout:1\n";

fn plan(domain: &str) -> DnsPlan {
    DnsPlan { servers: DNS_PROXY_ADDRESSES.to_vec(), search: vec![domain.parse().unwrap()] }
}

fn host(lab: &Lab) -> Result<Host> {
    let host = lab.host("device").build()?;
    host.write_file(PATH, FORMER)?;
    Ok(host)
}

fn apply(host: &Host, domain: &str) -> Result<DnsRecord> {
    let applied = host.inside(|| {
        let mut platform = Platform::native()?;
        let mut record = platform.dns.snapshot()?;
        platform.dns.apply(&plan(domain), &mut record).map(|()| record)
    })?;
    Ok(applied?)
}

/// By another process, with the record as the journal keeps it.
fn restore(host: &Host, record: &DnsRecord) -> Result<Restored> {
    let journalled: DnsRecord = serde_json::from_str(&serde_json::to_string(record)?)?;
    Ok(host.inside(|| Platform::native()?.dns.restore(&journalled))??)
}

fn file_of(record: &DnsRecord) -> &FileChange {
    let DnsChange::File(file) = &record.change else { panic!("{record:?}") };
    file
}

/// What else is in the folder under a name of Weft's.
fn leftovers(host: &Host) -> Result<Vec<String>> {
    let names = host.inside(|| -> Result<Vec<String>> {
        let names = fs::read_dir("/etc")?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    })??;
    Ok(names.into_iter().filter(|name| name.contains("weft")).collect())
}

#[test]
fn a_file_is_replaced_in_one_step_and_comes_back() {
    netlab::run(|lab| {
        let host = host(lab)?;
        host.inside(|| fs::set_permissions(PATH, fs::Permissions::from_mode(0o640)))??;
        let held_open = host.inside(|| fs::File::open(PATH))??;
        let record = apply(&host, "corp")?;
        assert_eq!(
            file_of(&record).before,
            Before::File { content: FORMER.into(), mode: 0o640, uid: 0, gid: 0 }
        );
        assert_eq!(
            host.read_file(PATH)?.lines().skip(2).collect::<Vec<_>>(),
            [
                "nameserver 127.0.2.2",
                "nameserver 127.0.2.3",
                "nameserver fd01:db8:1111::2",
                "nameserver fd01:db8:1111::3",
                "search corp lan",
                "options edns0 trust-ad"
            ]
        );
        // Who has the old file open goes on reading the old text: it was not written over.
        assert_eq!(std::io::read_to_string(held_open)?, FORMER);
        let mode = || host.inside(|| fs::metadata(PATH).map(|about| about.mode() & 0o7777));
        assert_eq!(mode()??, 0o640);

        // The same plan again changes nothing, another one the file.
        let inode = || host.inside(|| fs::metadata(PATH).map(|about| about.ino()));
        let before = inode()??;
        let mut again = record.clone();
        host.inside(|| Platform::native()?.dns.apply(&plan("corp"), &mut again))??;
        assert_eq!((inode()??, &again), (before, &record));
        host.inside(|| Platform::native()?.dns.apply(&plan("other"), &mut again))??;
        assert!(host.read_file(PATH)?.contains("search other lan\n"));
        assert_eq!(file_of(&again).before, file_of(&record).before);

        assert_eq!(restore(&host, &again)?, Restored::Restored);
        assert_eq!(host.read_file(PATH)?, FORMER);
        assert_eq!(mode()??, 0o640);
        assert_eq!(restore(&host, &again)?, Restored::Unchanged);
        assert!(leftovers(&host)?.is_empty());
        Ok(())
    });
}

#[test]
fn a_symbolic_link_is_replaced_not_followed_and_comes_back() {
    netlab::run(|lab| {
        let host = host(lab)?;
        for target in ["../run/resolver/stub.conf", "nowhere"] {
            host.write_file("/run/resolver/stub.conf", FORMER)?;
            host.inside(|| fs::remove_file(PATH).and_then(|()| symlink(target, PATH)))??;
            let record = apply(&host, "corp")?;
            assert!(!host.inside(|| fs::symlink_metadata(PATH))??.is_symlink());
            assert_eq!(host.read_file("/run/resolver/stub.conf")?, FORMER);
            let servers = if target == "nowhere" { 0 } else { 1 };
            assert_eq!(record.system().servers.len(), servers);
            // What is behind the link may change meanwhile.
            host.write_file("/run/resolver/stub.conf", "nameserver 198.51.100.53\n")?;
            assert_eq!(restore(&host, &record)?, Restored::Restored);
            assert_eq!(host.inside(|| fs::read_link(PATH))??, Path::new(target));
            assert_eq!(restore(&host, &record)?, Restored::Unchanged);
        }
        Ok(())
    });
}

#[test]
fn where_there_was_nothing_there_is_nothing_again() {
    netlab::run(|lab| {
        let host = host(lab)?;
        host.inside(|| fs::remove_file(PATH))??;
        let record = apply(&host, "corp")?;
        assert_eq!(host.inside(|| fs::metadata(PATH))??.mode() & 0o7777, 0o644);
        assert_eq!(restore(&host, &record)?, Restored::Restored);
        assert!(!host.inside(|| Path::new(PATH).exists())?);
        Ok(())
    });
}

#[test]
fn a_file_that_is_a_mount_of_its_own_is_written_in_place() {
    netlab::run(|lab| {
        let host = host(lab)?;
        host.write_file("/run/outside.conf", FORMER)?;
        host.run(["mount", "--bind", "/run/outside.conf", PATH])?;
        let record = apply(&host, "corp")?;
        assert!(host.read_file("/run/outside.conf")?.contains("nameserver 127.0.2.2\n"));
        assert_eq!(restore(&host, &record)?, Restored::Restored);
        assert_eq!(host.read_file("/run/outside.conf")?, FORMER);
        assert!(leftovers(&host)?.is_empty());
        Ok(())
    });
}

#[test]
fn a_folder_that_cannot_be_written_is_named_and_the_file_left() {
    netlab::run(|lab| {
        let host = host(lab)?;
        host.run(["mount", "-o", "remount,ro,bind", "/etc"])?;
        let error = apply(&host, "corp").unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(PlatformError::Dns { .. })), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("/etc/resolv.conf: cannot be written: Read-only file system"), "{text}");
        assert_eq!(text.lines().count(), 1);
        assert_eq!(host.read_file(PATH)?, FORMER);
        Ok(())
    });
}

#[test]
fn what_somebody_else_wrote_since_is_left() {
    netlab::run(|lab| {
        let host = host(lab)?;
        let record = apply(&host, "corp")?;
        let foreign = "nameserver 203.0.113.53\n";
        host.write_file(PATH, foreign)?;
        assert_eq!(restore(&host, &record)?, Restored::LeftForeign);
        assert_eq!(host.read_file(PATH)?, foreign);

        // A link in the place of Weft's file is somebody else's too, wherever it leads.
        host.write_file("/run/copy.conf", file_of(&record).written.last().unwrap())?;
        host.inside(|| fs::remove_file(PATH).and_then(|()| symlink("/run/copy.conf", PATH)))??;
        assert_eq!(restore(&host, &record)?, Restored::LeftForeign);
        Ok(())
    });
}

#[test]
fn a_rewrite_is_told_and_its_resolvers_are_the_former_ones_from_then_on() {
    netlab::run(|lab| {
        let host = host(lab)?;
        let mut platform = host.inside(Platform::native)??;
        let (tell, told) = std::sync::mpsc::channel();
        let dns = &mut platform.dns;
        let watch = host.inside(move || {
            dns.watch(Box::new(move || {
                let _ = tell.send(());
            }))
        })??;
        let mut record = apply(&host, "corp")?;
        let mut standing = |record: &DnsRecord| -> Result<DnsStanding> {
            let dns = &mut platform.dns;
            Ok(host.inside(move || dns.standing(record))??)
        };
        let heard = || -> Result<()> {
            told.recv_timeout(Duration::from_secs(20))?;
            while told.try_recv().is_ok() {}
            Ok(())
        };
        heard()?;
        assert_eq!(standing(&record)?, DnsStanding::InForce);
        // A DHCP client renames a new file over the old one, or writes it over.
        let rewrites = [
            (
                "192.0.2.54",
                "echo \"$TEXT\" > /etc/resolv.conf.dhclient && mv /etc/resolv.conf.dhclient $FILE",
            ),
            ("192.0.2.55", "echo \"$TEXT\" > $FILE"),
        ];
        for (server, command) in rewrites {
            let text = format!("# Generated by dhcpcd from eth0.dhcp\nnameserver {server}");
            host.sh(&format!("TEXT='{text}'; FILE={PATH}; {command}"))?;
            heard()?;
            let found = format!("{PATH} names {server}");
            assert_eq!(
                netlab::eventually(Duration::from_secs(20), "the rewrite is seen", || standing(&record))?,
                DnsStanding::Replaced { found, by: Some("dhcpcd".to_owned()) }
            );
            host.inside(|| Platform::native()?.dns.apply(&plan("corp"), &mut record))??;
            assert_eq!(standing(&record)?, DnsStanding::InForce);
            assert_eq!(record.system().servers, [server.parse::<IpAddr>()?]);
        }
        drop(watch);
        assert_eq!(restore(&host, &record)?, Restored::Restored);
        assert!(host.read_file(PATH)?.contains("nameserver 192.0.2.55\n"));
        Ok(())
    });
}

#[test]
fn wefts_own_file_without_a_record_is_no_former_state() {
    netlab::run(|lab| {
        let host = host(lab)?;
        let _lost = apply(&host, "corp")?;
        let error = apply(&host, "corp").unwrap_err().to_string();
        assert!(error.contains("holds what an earlier weftd wrote"), "{error}");
        Ok(())
    });
}

#[test]
fn odd_files_are_named_errors() {
    netlab::run(|lab| {
        let host = host(lab)?;
        host.write_file(PATH, vec![b'#'; (1 << 20) + 1])?;
        let error = apply(&host, "corp").unwrap_err().to_string();
        assert_eq!(error, "/etc/resolv.conf: cannot be read: it is longer than 1 MiB");
        host.inside(|| fs::remove_file(PATH).and_then(|()| fs::create_dir(PATH)))??;
        let error = apply(&host, "corp").unwrap_err().to_string();
        assert_eq!(error, "/etc/resolv.conf: cannot be read: it is neither a file nor a symbolic link");
        Ok(())
    });
}

#[test]
fn the_proxys_addresses_become_the_devices_own_and_go() {
    netlab::run(|lab| {
        let host = host(lab)?;
        let loopback = || host.run(["ip", "-o", "addr", "show", "dev", "lo"]).map(|output| output.stdout);
        let before = loopback()?;
        for _ in 0..2 {
            let claimed = host.inside(|| Platform::native()?.dns.claim_addresses())??;
            assert_eq!(claimed, DNS_PROXY_ADDRESSES);
        }
        for address in DNS_PROXY_ADDRESSES {
            host.inside(|| UdpSocket::bind((address, 53)))??;
        }
        for _ in 0..2 {
            host.inside(|| Platform::native()?.dns.release_addresses())??;
            assert_eq!(loopback()?, before);
        }
        Ok(())
    });
}

#[test]
fn who_holds_the_dns_port_is_named() {
    netlab::run(|lab| {
        let host = host(lab)?;
        let address = DNS_PROXY_ADDRESSES[0];
        assert_eq!(host.inside(|| who_holds_port(53, address))?, None);
        host.inside(|| Platform::native()?.dns.preflight())??;
        let socket = host.inside(|| UdpSocket::bind("0.0.0.0:53"))??;
        let holder = host.inside(|| who_holds_port(53, address))?.unwrap();
        assert!(holder.to_string().starts_with("UDP 0.0.0.0:53 is held by "), "{holder}");
        assert_eq!(holder.process.as_ref().unwrap().1, std::process::id());
        let error = host.inside(|| Platform::native()?.dns.preflight())?.unwrap_err();
        assert!(matches!(&error, PlatformError::PortHeld(found) if *found == holder), "{error}");
        assert_eq!(
            error.to_string(),
            format!(
                "{holder}, which the DNS proxy needs: stop it, or let it listen on its own addresses alone"
            )
        );
        drop(socket);
        let _listener = host.inside(|| TcpListener::bind("127.0.2.3:53"))??;
        let error = host.inside(|| Platform::native()?.dns.preflight())?.unwrap_err().to_string();
        assert!(error.starts_with("TCP 127.0.2.3:53 is held by "), "{error}");
        Ok(())
    });
}

#[test]
fn a_host_without_tun_devices_is_told_so() {
    netlab::run(|lab| {
        let host = host(lab)?;
        host.run(["mount", "-t", "tmpfs", "none", "/dev/net"])?;
        let error = host.inside(|| Platform::native()?.preflight())?.unwrap_err();
        assert!(matches!(error, PlatformError::NoTun(_)), "{error}");
        assert!(error.to_string().starts_with("/dev/net/tun cannot be opened (No such file"), "{error}");
        Ok(())
    });
}
