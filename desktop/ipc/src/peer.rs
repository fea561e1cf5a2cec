//! Who is at the other end, and what he may do.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::message::Permission;
use crate::sys;

/// The peer of a connection, as the kernel knew it when it connected. Later changes of its credentials do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The user.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The process, for logs alone: numbers of processes are used again.
    pub pid: i32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

impl PeerIdentity {
    /// Asks the kernel who is at the other end of `socket`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let credentials = rustix::net::sockopt::socket_peercred(&socket)?;
        Ok(Self {
            uid: credentials.uid.as_raw(),
            gid: credentials.gid.as_raw(),
            pid: credentials.pid.as_raw_nonzero().get(),
            groups: sys::peer_groups(socket.as_fd())?,
        })
    }

    fn is_member(&self, group: u32) -> bool {
        self.gid == group || self.groups.contains(&group)
    }
}

/// Who may speak to the daemon: root, and the members of one group where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The group's name, for messages.
    pub group_name: String,
    /// The group's number; none = there is no such group, and root alone may speak.
    pub group: Option<u32>,
}

impl Access {
    /// Root and the members of the group named `name` in the system's group file.
    ///
    /// # Errors
    /// Reading the file fails.
    pub fn by_group(name: &str) -> io::Result<Self> {
        let text = std::fs::read_to_string(Path::new("/etc/group"))?;
        Ok(Self { group_name: name.to_owned(), group: find_group(&text, name) })
    }

    /// Whether `peer` may do what needs `permission`. Looking and changing are both for root and the group: what the
    /// daemon shows (addresses, the log) is no more for everybody than what it does.
    #[must_use]
    pub fn allows(&self, peer: &PeerIdentity, permission: Permission) -> bool {
        match permission {
            Permission::Read | Permission::Write => {
                peer.uid == 0 || self.group.is_some_and(|group| peer.is_member(group))
            }
        }
    }
}

/// The number of the group `name` in a text in the form of group(5).
fn find_group(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let text = "root:x:0:\nweft-gateway:x:7:\nweft:x:986:ann,bob\nbroken\nweft:x:1:\n";
        assert_eq!(find_group(text, "weft"), Some(986));
        assert_eq!(find_group(text, "wef"), None);
        assert_eq!(find_group("weft:x:none:\n", "weft"), None);
        assert_eq!(find_group("", "weft"), None);
    }

    #[test]
    fn only_root_and_the_group_may_speak() {
        let peer = |uid, gid, groups: &[u32]| PeerIdentity { uid, gid, pid: 1, groups: groups.to_vec() };
        let with = Access { group_name: "weft".into(), group: Some(986) };
        let without = Access { group_name: "weft".into(), group: None };
        let cases = [
            (peer(0, 0, &[]), true, true),
            (peer(0, 1000, &[1000]), true, true),
            (peer(1000, 986, &[]), true, false),
            (peer(1000, 1000, &[4, 986]), true, false),
            (peer(1000, 1000, &[4, 985]), false, false),
            (peer(986, 1000, &[]), false, false),
            (peer(1000, 0, &[0]), false, false),
        ];
        for (peer, in_group, nobody) in cases {
            for permission in [Permission::Read, Permission::Write] {
                assert_eq!(with.allows(&peer, permission), in_group, "{peer:?}");
                assert_eq!(without.allows(&peer, permission), nobody, "{peer:?}");
            }
        }
    }

    #[test]
    fn the_kernel_names_the_peer() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = PeerIdentity::of(&here).unwrap();
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
        assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
        let groups: Vec<u32> =
            rustix::process::getgroups().unwrap().into_iter().map(|group| group.as_raw()).collect();
        assert_eq!(peer.groups, groups);
    }
}
