//! A certificate authority for servers of the lab.

use std::net::IpAddr;

use anyhow::Result;

use crate::host::Host;

const FOLDER: &str = "/run/authority";

/// A certificate authority that lives on one host.
#[derive(Clone, Debug)]
pub struct Authority {
    host: Host,
    pem: String,
}

/// A server's certificate chain and key: files that every host of the lab can be given.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The path of the certificate.
    pub certificate: String,
    /// The path of its key.
    pub key: String,
}

impl Authority {
    /// A new one, made by `openssl` on a host.
    ///
    /// # Errors
    ///
    /// When `openssl` fails.
    pub fn new(host: &Host) -> Result<Self> {
        host.sh(&format!(
            "mkdir -p {FOLDER} && cd {FOLDER} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
             -nodes -keyout ca.key -out ca.pem -days 30 -subj '/CN=Laboratory' \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign"
        ))?;
        Ok(Self { pem: host.read_file(format!("{FOLDER}/ca.pem"))?, host: host.clone() })
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for a server at an address, on its host `server`.
    ///
    /// # Errors
    ///
    /// When `openssl` fails.
    pub fn certify(&self, server: &Host, address: IpAddr) -> Result<Identity> {
        let name = format!("server-{address}").replace(':', "-");
        self.host.sh(&format!(
            "cd {FOLDER} && openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key \
             -out {name}.csr -subj '/CN={address}' && \
             printf 'subjectAltName=IP:{address}\\nextendedKeyUsage=serverAuth\\n' > {name}.ext && \
             openssl x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 20 \
             -extfile {name}.ext -out {name}.pem"
        ))?;
        let identity =
            Identity { certificate: format!("{FOLDER}/{name}.pem"), key: format!("{FOLDER}/{name}.key") };
        for path in [&identity.certificate, &identity.key] {
            server.write_file(path, self.host.read_file(path)?)?;
        }
        Ok(identity)
    }
}
