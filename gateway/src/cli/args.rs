//! What can be typed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use weft_model::PublicKey;

const EXIT_CODES: &str = "\
Exit codes:
  0  it is done
  1  it failed; one line on standard error says why
  2  the command line is wrong
  3  there is no such device or profile
  4  no gateway is running (`status`)

First steps:
  weft-gateway init --public-address 203.0.113.10 --name gateway.example
  weft-gateway token create
  weft-gateway run
and on the device what `token create` says.";

/// The far side of Weft: tunnel endpoint, DNS resolver with policy, and device orchestration.
#[derive(Debug, Parser)]
#[command(name = "weft-gateway", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(super) struct Arguments {
    /// Where the gateway keeps its state.
    #[arg(long, global = true, default_value = crate::dir::DEFAULT, value_name = "DIR")]
    pub dir: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make keys, certificate, configuration and store. Nothing is ever overwritten.
    Init(InitOptions),
    /// Serve devices until SIGTERM or SIGINT.
    ///
    /// Needs the right to manage the network (root, or CAP_NET_ADMIN and CAP_NET_BIND_SERVICE), /dev/net/tun and
    /// the program nft. All that it sets up on this machine it takes back when it ends, and after a crash when it
    /// starts again.
    Run(RunOptions),
    /// Enrolment tokens: what a device shows to be registered.
    #[command(subcommand)]
    Token(TokenCommand),
    /// The registered devices.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Profiles: what devices are told to do.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Say how the running gateway is.
    Status(JsonOption),
    /// The server's certificate.
    #[command(subcommand)]
    Certificate(CertificateCommand),
}

#[derive(Debug, Args)]
pub(super) struct InitOptions {
    /// The addresses that devices reach this gateway at.
    #[arg(long, required = true, value_delimiter = ',', value_name = "IP[,IP6]")]
    pub public_address: Vec<IpAddr>,
    /// The gateway's name [default: the first public address].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The TCP port of the device orchestration API.
    #[arg(long, default_value_t = 443, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub api_port: u16,
    /// The interfaces that devices' packets leave by [default: those of the default routes].
    #[arg(long, value_delimiter = ',', value_name = "INTERFACE")]
    pub uplink: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// What to log: error, warn, info, debug or trace, or a filter such as "info,weft_gateway::dns=debug".
    /// Names and addresses of devices are logged at debug alone.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub log: String,
}

#[derive(Debug, Args)]
pub(super) struct JsonOption {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make an enrolment token and print it, this once: only its hash is kept.
    Create {
        /// How many devices it registers.
        #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// For how long: a number with s, m, h or d, or "never".
        #[arg(long, default_value = "24h", value_name = "TIME", value_parser = lifetime)]
        expires: Lifetime,
        /// The profile of those devices [default: the default profile].
        #[arg(long, value_name = "NAME")]
        profile: Option<String>,
        /// Print a link for a phone's app in place of the token, and beside it (on standard error) its QR code.
        #[arg(long)]
        phone: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DeviceCommand {
    /// List the devices, the revoked ones too.
    List(JsonOption),
    /// Cut a device off, at once. Its address stays its own.
    Revoke {
        /// Its identifier, or the beginning of it.
        id: String,
    },
    /// Forget a device. Its address may be given to another.
    Delete {
        /// Its identifier, or the beginning of it.
        id: String,
    },
    /// Add a device that runs another WireGuard client, and print a wg-quick file for it.
    Add {
        /// Its name.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// Its public key. Without one a pair is made, and the file with the private key printed this once.
        #[arg(long, value_name = "KEY")]
        key: Option<PublicKey>,
        /// Its profile, for the resolver's lists [default: the default profile].
        #[arg(long, value_name = "NAME")]
        profile: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ProfileCommand {
    /// List the profiles.
    List,
    /// Show a profile.
    Show {
        /// Its name [default: the default profile].
        name: Option<String>,
        /// Print it as `profile set` reads it.
        #[arg(long)]
        json: bool,
    },
    /// Put a profile in place of the one of the same name, or add it.
    ///
    /// The file is JSON in the field names of WARP's device profiles, "{}" the least of them. A profile without a
    /// name takes the place of the default; one with "default": true becomes it. Devices have it at their next
    /// request. A bad profile is refused and changes nothing.
    Set {
        /// The file, or "-" for standard input.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum CertificateCommand {
    /// Make a new server certificate by the same authority, for the name and addresses in config.toml.
    ///
    /// Devices go on trusting the gateway. It holds after a restart.
    Renew,
    /// Print the SHA-256 of the authority's certificate, which a device checks once.
    Fingerprint,
}

/// For how long a token is valid; none = for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifetime(pub Option<Duration>);

fn lifetime(text: &str) -> Result<Lifetime, String> {
    if text == "never" {
        return Ok(Lifetime(None));
    }
    let wrong = || "a number with s, m, h or d (such as 24h), or \"never\"".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 24 * 3600,
        _ => return Err(wrong()),
    };
    let digits = text.get(..text.len() - 1).ok_or_else(wrong)?;
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    // A hundred years, and no overflow anywhere.
    match number.checked_mul(unit) {
        Some(seconds @ 1..=3_153_600_000) => Ok(Lifetime(Some(Duration::from_secs(seconds)))),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn lifetimes_are_a_number_and_a_unit() {
        let seconds = |text| lifetime(text).map(|lifetime| lifetime.0.map(|time| time.as_secs()));
        assert_eq!(seconds("90s"), Ok(Some(90)));
        assert_eq!(seconds("24h"), Ok(Some(86_400)));
        assert_eq!(seconds("7d"), Ok(Some(604_800)));
        assert_eq!(seconds("never"), Ok(None));
        for wrong in ["", "h", "24", "-1h", "0s", "1w", "1.5h", "99999999999999999999d", "\u{e4}"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
