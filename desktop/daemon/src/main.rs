//! weftd: the daemon.

mod applier;
mod apply_thread;
mod args;
mod daemon;
mod diagnose;
mod dns;
mod dns_watch;
mod enrol;
mod fatal;
mod follow;
mod journal;
mod keeper;
mod lock;
mod log;
mod memory;
mod run;
mod serve;
mod state;
mod target;
#[cfg(test)]
mod testing;
mod undo;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use weft_platform::Platform;

use crate::args::Args;
use crate::fatal::Fatal;
use crate::lock::InstanceLock;

fn main() -> ExitCode {
    memory::limit_allocator();
    match start(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("weftd: {fatal}");
            ExitCode::from(fatal.code())
        }
    }
}

fn start(args: Args) -> Result<(), Fatal> {
    if args.check {
        return Ok(Platform::native()?.preflight()?);
    }
    if args.undo {
        return undo(&args);
    }
    let log = log::start();
    let lock = InstanceLock::take(&args.run_dir)?;
    let platform = Platform::native()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the system gives no event loop")?;
    let access = weft_ipc::Access::by_group(weft_ipc::GROUP).context("/etc/group cannot be read")?;
    let parts = run::Parts {
        platform,
        monitor: weft_platform::network_monitor(),
        state_dir: args.state_dir,
        socket: args.run_dir.join("weftd.sock"),
        access,
        mark: Some(weft_model::FIREWALL_MARK),
        log,
    };
    let ended = runtime.block_on(async { run::run(parts, run::signals()?).await });
    // A look-up of a name that does not end must not hold the end up.
    runtime.shutdown_background();
    drop(lock);
    ended
}

fn undo(args: &Args) -> Result<(), Fatal> {
    let _lock = InstanceLock::take_to_undo(&args.run_dir)?;
    let result = std::env::var("SERVICE_RESULT").ok();
    if args.unless_crashed && undo::is_crash(result.as_deref()) && undo::shall_be_connected(&args.state_dir)?
    {
        println!(
            "the daemon crashed while connected: tunnelled destinations stay blocked until it is started again"
        );
        return Ok(());
    }
    undo::undo(&args.state_dir, Platform::native()?, &mut |line| println!("{line}"))
}
