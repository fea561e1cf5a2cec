//! A phone on a host of the lab: Android's library on a JVM, which obeys this test.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use netlab::{Host, Process, Skip};
use serde_json::{Value, json};
use weft_e2e::{GatewayServer, PATIENCE};

/// Where the phone keeps its state: a folder of the host alone, which outlives the process.
const FOLDER: &str = "/var/lib/phone";
/// Where it listens.
const PORT: u16 = 7070;
/// How long a JVM may take until it listens: it loads a whole Android.
const START: Duration = Duration::from_secs(120);

/// The phone. Its process is killed when this is dropped.
pub(crate) struct Phone {
    host: Host,
    process: Process,
    connection: BufReader<TcpStream>,
}

impl Phone {
    /// Starts the app's process, with what an earlier one has left.
    ///
    /// # Errors
    /// A [`Skip`] where the library is not built: `build-scripts/android test-phone` builds it. Else it does not start.
    pub(crate) fn start(host: &Host) -> Result<Self> {
        let arguments = arguments()?;
        let mut command = host.command("java");
        command
            .arg(format!("@{}", arguments.display()))
            .args(["org.junit.runner.JUnitCore", "org.weft.tunnel.LabPhone"])
            .env("WEFT_PHONE_PORT", PORT.to_string())
            .env("WEFT_PHONE_FOLDER", FOLDER);
        let process = host.spawn(command)?;
        process.wait_for_line("the phone listens", START)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let connection = host.inside(|| TcpStream::connect_timeout(&address, PATIENCE))??;
        connection.set_read_timeout(Some(2 * PATIENCE))?;
        Ok(Self { host: host.clone(), process, connection: BufReader::new(connection) })
    }

    /// Gives a command and returns the phone's state after it.
    ///
    /// # Errors
    /// The phone says that it cannot, or says nothing.
    pub(crate) fn tell(&mut self, line: &str) -> Result<Value> {
        self.connection.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        self.connection.read_line(&mut answer)?;
        let state: Value = serde_json::from_str(&answer).with_context(|| format!("to {line}: {answer:?}"))?;
        if let Some(error) = state.get("error") {
            bail!("{line}: {error}");
        }
        Ok(state)
    }

    /// Waits until the phone's state is what `wanted` looks for.
    ///
    /// # Errors
    /// It does not come.
    pub(crate) fn wait(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut found = Value::Null;
        netlab::eventually(2 * PATIENCE, what.to_owned(), || {
            found = self.tell("state")?;
            ensure!(wanted(&found), "{found}");
            Ok(())
        })?;
        Ok(found)
    }

    /// Waits for a state of the core.
    ///
    /// # Errors
    /// It does not come.
    pub(crate) fn wait_for(&mut self, state: &str) -> Result<Value> {
        self.wait(&format!("the phone is {state}"), |now| now.get("state").is_some_and(|is| is == state))
    }

    /// The system tells the app that the device is on another network.
    ///
    /// # Errors
    /// The phone does not answer.
    pub(crate) fn join(&mut self, id: u32, interface: &str, resolver: Ipv4Addr) -> Result<Value> {
        let network = json!({"id": id, "interface": interface, "dns": [resolver.to_string()]});
        self.tell(&format!("network {network}"))
    }

    /// The user opens an enrolment link.
    ///
    /// # Errors
    /// The registration comes to nothing.
    pub(crate) fn enrol(&mut self, gateway: &GatewayServer) -> Result<()> {
        let (url, token) = (gateway.url(), gateway.token()?);
        let link = format!("weft://enrol?url={url}&token={token}&ca={}", gateway.fingerprint());
        let state = self.tell(&format!("enrol {link}"))?;
        ensure!(state.get("registered") == Some(&Value::Bool(true)), "{state}");
        Ok(())
    }

    /// The user switches it on, and waits until it is proven.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn connect(&mut self) -> Result<Value> {
        self.tell("connect")?;
        self.wait_for("CONNECTED")
    }

    /// What another app of the phone fetches.
    ///
    /// # Errors
    /// curl cannot be run.
    pub(crate) fn page(&self, url: &str) -> Result<String> {
        let mut command = self.host.command("curl");
        command.args(["-4", "--silent", "--show-error", "--max-time", "5", url]);
        let output = self.host.finish(command, PATIENCE)?;
        Ok(format!("{}{}", output.stdout, output.stderr))
    }

    /// Waits until another app's page says so.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn wait_for_page(&self, url: &str, wanted: &str) -> Result<()> {
        netlab::eventually(2 * PATIENCE, format!("{url} says {wanted}"), || {
            let page = self.page(url)?;
            ensure!(page.contains(wanted), "{page}");
            Ok(())
        })?;
        Ok(())
    }

    /// Kills the app's process, as a system that is short of memory does.
    ///
    /// # Errors
    /// It had ended before.
    pub(crate) fn kill9(mut self) -> Result<()> {
        self.process.kill9()
    }
}

fn arguments() -> Result<PathBuf> {
    match std::env::var_os("WEFT_PHONE_ARGS") {
        Some(path) => Ok(path.into()),
        None => bail!(Skip(
            "the Android library is not built: `build-scripts/android test-phone` does both".into()
        )),
    }
}
