//! The command line and the help that teaches it.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Parser, Subcommand, ValueHint};
use weft_model::ServiceMode;

use crate::fault;

const EXAMPLES: &str = "\
Examples:
  Register with a gateway, and connect:
    weft registration new https://gateway.example.com --token-file token.txt \\
        --ca-fingerprint 5f1c...e2
    weft connect --wait
  Use an existing WireGuard server instead:
    weft registration import wg0.conf
  See what is going on:
    weft status --listen
    weft status --json | jq -r .state";

/// Weft steers this device's IP packets and DNS queries to a Zero Trust gateway.
///
/// This is the command line of weftd, the daemon. It needs root or membership of the group weft.
#[derive(Debug, Parser)]
#[command(name = "weft", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = fault::TABLE, after_long_help = format!("{EXAMPLES}\n\n{}", fault::TABLE))]
pub(crate) struct Args {
    /// The daemon's socket
    #[arg(long, global = true, value_name = "PATH", default_value = weft_ipc::DEFAULT_SOCKET)]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) socket: PathBuf,
    /// Print JSON, for programs: one value, or one a line where there are several; errors too
    #[arg(long, short, global = true)]
    pub(crate) json: bool,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register this device, or show or delete its registration
    #[command(subcommand, visible_alias = "reg")]
    Registration(Registration),
    /// Connect, and stay connected, also after a restart of the device
    ///
    /// Tunnelled destinations are blocked from now on until the tunnel carries them.
    Connect {
        /// Wait until connected, for this many seconds at most (60 if no number is given)
        #[arg(long, short, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
        wait: Option<u64>,
    },
    /// Disconnect, and put the device's network back as it was
    Disconnect,
    /// Show the state and the reason for it
    Status {
        /// Go on with each change, until interrupted
        #[arg(long, short)]
        listen: bool,
    },
    /// Show the settings in force and who decided each
    ///
    /// --refresh asks the gateway for the profile at once, instead of within ten minutes; what it says is in force as
    /// soon as it is there.
    Settings {
        /// Fetch the profile now, and show nothing
        #[arg(long)]
        refresh: bool,
    },
    /// Choose a service mode, where the administrator leaves the choice
    Mode {
        /// The mode
        #[arg(value_parser = PossibleValuesParser::new(ServiceMode::WORDS.map(|(word, _)| word)))]
        mode: String,
    },
    /// The tunnel
    #[command(subcommand)]
    Tunnel(Counters),
    /// The DNS proxy: who answers which name, and why
    #[command(subcommand)]
    Dns(Dns),
    /// Write a bundle for a report of a problem: one JSON file, without keys and tokens
    ///
    /// It holds the status, the settings, the counters, the versions, the log, and Weft's routes, rules, firewall
    /// and DNS settings. Addresses and host names of the settings are in it: read it before you pass it on.
    Diag {
        /// The file to write; `-` is the standard output
        #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Show the daemon's log
    Log {
        /// Go on with each new line, until interrupted
        #[arg(long, short)]
        follow: bool,
        /// How many lines to begin with
        #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
        lines: u32,
    },
    /// Print a completion script for a shell
    ///
    /// For example: weft completions bash > /usr/share/bash-completion/completions/weft
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Who this device is.
#[derive(Debug, Subcommand)]
pub(crate) enum Registration {
    /// Register this device with a gateway
    ///
    /// The gateway's administrator hands out the enrolment token and, where the gateway has a certificate
    /// authority of its own, that authority's fingerprint: `weft-gateway init` and `weft-gateway token create`
    /// print them.
    ///
    /// Other users of this device can see a token in the list of processes while it is given by --token:
    /// --token-file avoids that.
    #[command(group = ArgGroup::new("credential").required(true))]
    New {
        /// The gateway's address: https://HOST, or https://HOST:PORT
        #[arg(value_hint = ValueHint::Url)]
        url: String,
        /// The enrolment token
        #[arg(long, group = "credential")]
        token: Option<String>,
        /// A file that holds the enrolment token; `-` is the standard input
        #[arg(long, value_name = "FILE", group = "credential", value_hint = ValueHint::FilePath)]
        token_file: Option<PathBuf>,
        /// The SHA-256 of the gateway's certificate authority, in hex; without it, the system must trust the
        /// gateway's certificate
        #[arg(long, value_name = "FINGERPRINT")]
        ca_fingerprint: Option<String>,
        /// This device's name at the gateway; without it, the host's name
        #[arg(long)]
        name: Option<String>,
    },
    /// Show who this device is, without its keys
    Show,
    /// Disconnect, tell the gateway, and forget the registration
    Delete,
    /// Take a wg-quick file, for a WireGuard server that is no Weft gateway
    ///
    /// DNS= becomes plain resolvers through the tunnel and search domains, AllowedIPs= the split tunnel. The file is
    /// read once; its private key is kept by weftd alone.
    Import {
        /// The file; `-` is the standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The registration's name; without it, the file's, less its ending
        #[arg(long)]
        name: Option<String>,
    },
}

/// What is counted.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Counters {
    /// Show its counters
    Stats,
}

/// The DNS proxy.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Dns {
    /// Show what became of the queries so far: who answered them, what failed, what the cache holds
    Stats,
    /// Show how names reach Weft: by what means the system's settings are changed and why by these, who keeps them,
    /// and which program holds port 53 where that is not Weft
    Status,
    /// Show the log of names that were asked for, or switch it on or off
    ///
    /// Names are private: the log is off until somebody switches it on, is kept in memory alone, holds the newest
    /// queries, and is emptied when it is switched off or weftd ends.
    ///
    /// --follow goes on with each query as it is answered; with --json, one JSON object a line. While the log is off it
    /// says so and waits. Where more comes than the reader takes, queries are left out, and it says how many.
    ///
    /// For example: weft dns log --on --follow
    Log {
        /// Switch it on
        #[arg(long, conflicts_with = "off")]
        on: bool,
        /// Switch it off, and forget what it holds
        #[arg(long)]
        off: bool,
        /// Go on with each new query, until interrupted
        #[arg(long, short, conflicts_with = "off")]
        follow: bool,
        /// How many queries to begin with
        #[arg(long, short = 'n', value_name = "N", default_value_t = 10, requires = "follow")]
        lines: u32,
    },
    /// The names that private resolvers answer instead of the gateway (Local Domain Fallback)
    #[command(subcommand)]
    Fallback(Fallback),
    /// Ask for a name as a program would, and show who answered it and why
    ///
    /// Shows the rule that chose who was asked, the split-tunnel entry that the name matches, the response code, why
    /// the gateway blocked a name (extended errors, RFC 8914), the records, and the time it took. Ends with 0 where
    /// there is an answer, 9 where the name does not exist, 10 where it could not be resolved.
    ///
    /// For example: weft dns query --type AAAA intranet.example.com
    Query {
        /// The name
        name: String,
        /// The record type: A, AAAA, HTTPS, TXT, ... or TYPE with a number
        #[arg(long = "type", short = 't', value_name = "TYPE", default_value = "A")]
        kind: String,
    },
    /// Forget every answer that is kept, so that each name is asked for anew
    Flush,
}

/// The fallback rules.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Fallback {
    /// Show each suffix with its resolvers, who decided the list, and which resolvers a suffix without any uses now
    List,
}
