//! A phone and a gateway, behind whose tunnel the gateway itself answers echoes.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netlab::{End, Host, Lab, Switch};
use weft_e2e::{GatewayServer, INNER_RESOLVER};

use super::Carried;
use super::row::{PROGRAM, Row};

const PHONE: Ipv4Addr = Ipv4Addr::new(192, 168, 70, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 70, 1);
const PROFILE: &str = r#"{"fallback_domains": []}"#;
/// Where the phone keeps who it is.
const STATE: &str = "/run/boundary.state";
/// How long a program may take besides the time that it carries.
const SOON: Duration = Duration::from_secs(60);

/// The two, and the device's registration.
pub(crate) struct Field {
    phone: Host,
    gateway: GatewayServer,
    _cable: Switch,
}

impl Field {
    /// # Errors
    /// A step of it fails.
    pub(crate) fn build(lab: &Lab) -> Result<Self> {
        let cable = Switch::new(lab, "boundary")?;
        let phone = lab.host("boundary-phone").build()?;
        let far = lab.host("boundary-far").resolver(GATEWAY.into()).build()?;
        for (host, address) in [(&phone, PHONE), (&far, GATEWAY)] {
            cable.plug(End::new(host, "eth0").address(&format!("{address}/24")))?;
        }
        phone.default_route(GATEWAY.into())?;
        let gateway = GatewayServer::start(&far, GATEWAY.into(), PROFILE)?;
        let field = Self { phone, gateway, _cable: cable };
        let mut enrol = field.phone.command(weft_e2e::program(PROGRAM)?);
        enrol.arg("enrol").env("WEFT_LINKS", field.link()?);
        Self::tell(&mut enrol, 0, 0);
        field.phone.finish(enrol, SOON)?.success()?;
        Ok(field)
    }

    /// Has a row carry echoes for a while.
    ///
    /// # Errors
    /// Its program fails; the message holds what it said.
    pub(crate) fn carry(&self, row: Row, size: u32, seconds: u32) -> Result<Carried> {
        let mut command = row.command(&self.phone)?;
        Self::tell(&mut command, size, seconds);
        let output = self.phone.finish(command, SOON + Duration::from_secs(seconds.into()))?.success()?;
        Carried::parse(&output.stdout)
    }

    /// A link to enrol a device by.
    fn link(&self) -> Result<String> {
        let (url, token) = (self.gateway.url(), self.gateway.token()?);
        Ok(format!("weft://enrol?url={url}&token={token}&ca={}", self.gateway.fingerprint()))
    }

    fn tell(command: &mut Command, size: u32, seconds: u32) {
        command.env("WEFT_STATE", STATE).env("WEFT_ECHO", INNER_RESOLVER);
        command.env("WEFT_SIZE", size.to_string()).env("WEFT_SECONDS", seconds.to_string());
    }
}

/// What the core weighs as a library, in a sentence.
pub(crate) fn library_size() -> String {
    match stripped_size() {
        Ok(bytes) => {
            format!("The core's library takes {:.1} MiB stripped.", bytes as f64 / f64::from(1 << 20))
        }
        Err(error) => format!("The core's library was not weighed: {error:#}."),
    }
}

/// Without the symbol table, which the build of an app takes off and cargo's release keeps for backtraces.
fn stripped_size() -> Result<u64> {
    let library = weft_e2e::program("python/libweft_ffi.so")?;
    let stripped = library.with_extension("stripped");
    let status = Command::new("strip").arg("-o").arg(&stripped).arg(&library).status().context("strip")?;
    ensure!(status.success(), "strip: {status}");
    let size = fs::metadata(&stripped)?.len();
    fs::remove_file(&stripped)?;
    Ok(size)
}
