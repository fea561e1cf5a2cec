//! Zones for BIND, signed where a test wants them to be.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use crate::host::Host;

/// How a zone proves that a name does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denial {
    /// Not at all: the zone is not signed.
    #[default]
    Unsigned,
    /// NSEC records (RFC 4034).
    Nsec,
    /// NSEC3 records (RFC 5155).
    Nsec3,
}

/// A zone, as a master file (RFC 1035) with a name.
#[derive(Clone, Debug)]
#[must_use]
pub struct Zone {
    pub(super) name: String,
    text: String,
    denial: Denial,
}

impl Zone {
    /// A zone with an SOA, the name server `ns`, whose address this is, and the records of `text` beside them.
    pub fn new(name: &str, server: Ipv4Addr, text: &str) -> Self {
        let head = format!(
            "$ORIGIN {name}.\n$TTL 300\n@ IN SOA ns admin 1 3600 600 86400 60\n@ IN NS ns\nns IN A {server}\n"
        );
        Self { name: name.to_owned(), text: head + text + "\n", denial: Denial::Unsigned }
    }

    /// Signs it with a key of its own (ECDSA P-256).
    pub fn signed(mut self, denial: Denial) -> Self {
        self.denial = denial;
        self
    }

    /// Writes it into `folder`; gives its file and its trust anchor, if it has one.
    pub(super) fn write(&self, host: &Host, folder: &str) -> Result<(String, Option<String>)> {
        let (name, file) = (&self.name, format!("{folder}/{}.zone", self.name));
        host.write_file(&file, &self.text)?;
        let options = match self.denial {
            Denial::Unsigned => return Ok((file, None)),
            Denial::Nsec => "",
            Denial::Nsec3 => "-3 - -H 0",
        };
        let made = host
            .sh(&format!(
                "cd {folder} && key=$(dnssec-keygen -q -a ECDSAP256SHA256 -f KSK {name}) && echo $key && \
                 cat $key.key >> {file} && dnssec-signzone -q -z -S -x {options} -o {name} -K {folder} {file} >&2"
            ))
            .with_context(|| format!("cannot sign {name}"))?;
        let key = host.read_file(format!("{folder}/{}.key", made.stdout.trim()))?;
        let anchor = key.lines().find(|line| !line.starts_with(';')).context("a key file without a key")?;
        Ok((format!("{file}.signed"), Some(anchor.to_owned())))
    }
}
