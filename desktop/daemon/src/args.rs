//! The command line.

use std::path::PathBuf;

use clap::Parser;

const HELP: &str = "\
Exit codes:
  0  ended as asked; with --undo: nothing of Weft's is left
  1  failed; the last line of the log says why
  2  the command line is wrong
  3  something is missing (privilege, /dev/net/tun, nftables) or held by another program
  4  another weftd is running
  5  as 3, and the device, which was left connected, is blocked: worth another try
  6  with --undo: a program that does not run still has Weft's DNS settings; start it and run --undo again

A daemon that is killed leaves tunnelled destinations blocked, until it is started again or `weftd --undo` is run.
What is logged is set by the variable WEFT_LOG (error, warn, info, debug, or as in weftd=debug,weft_engine=trace).";

/// weftd steers this device's IP packets and DNS queries to a Zero Trust gateway. `weft` tells it what to do.
#[derive(Debug, Parser)]
#[command(name = "weftd", version, after_help = HELP)]
pub(crate) struct Args {
    /// Stay in the foreground; the daemon always does, and a service manager wants nothing else
    #[arg(long, conflicts_with_all = ["undo", "check"])]
    pub(crate) foreground: bool,
    /// Say what is missing or held by another program, change nothing, and end
    #[arg(long, conflicts_with = "undo")]
    pub(crate) check: bool,
    /// Put the device's DNS, routes, addresses and firewall back as they were, and end
    #[arg(long)]
    pub(crate) undo: bool,
    /// With --undo, for ExecStopPost: leave everything to the next start where the service manager says that the
    /// daemon crashed (SERVICE_RESULT) and the device is to be connected
    #[arg(long, requires = "undo")]
    pub(crate) unless_crashed: bool,
    /// Where the registration and the undo journal are kept
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/weft")]
    pub(crate) state_dir: PathBuf,
    /// Where the socket and the lock are
    #[arg(long, value_name = "FOLDER", default_value = "/run/weft")]
    pub(crate) run_dir: PathBuf,
}
