//! A system bus of the host's own.

use anyhow::Result;

use super::Service;
use crate::components::Component;
use crate::host::Host;

/// What `/usr/share/dbus-1/system.conf` says of who may do what, without programs that the bus would start.
const CONFIGURATION: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <policy user="root">
    <allow own="*"/>
    <allow send_type="method_call"/>
  </policy>
  <includedir>/usr/share/dbus-1/system.d</includedir>
</busconfig>
"#;

/// A running system bus, at its usual path `/run/dbus/system_bus_socket`.
#[derive(Debug)]
pub struct Bus {
    pub(super) host: Host,
    _service: Service,
}

impl Host {
    /// Starts a system bus for the services that `components` are. They are installed before it, as it reads their
    /// policies when it starts. It starts no programs by itself.
    ///
    /// # Errors
    ///
    /// When the bus does not start. A [`Skip`](crate::Skip) where a component, or the bus, is missing, or where the
    /// lab has a single user: services have users of their own.
    pub fn dbus(&self, components: &[Component]) -> Result<Bus> {
        self.inner.lab.require_many_ids()?;
        self.install(&[&[Component::Dbus], components].concat())?;
        let path = "/run/dbus/netlab.conf";
        self.write_file(path, CONFIGURATION)?;
        let mut command = self.command(Component::Dbus.program());
        command.args(["--nofork", "--nopidfile", "--nosyslog", "--config-file", path]);
        let call = [
            "dbus-send",
            "--system",
            "--print-reply",
            "--dest=org.freedesktop.DBus",
            "/",
            "org.freedesktop.DBus.GetId",
        ];
        let service = Service::start(self, command, |_| self.run(call).map(drop))?;
        Ok(Bus { host: self.clone(), _service: service })
    }
}
