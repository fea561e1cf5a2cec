//! Who carries the packets.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;
use netlab::Host;

/// The program for the ways without a boundary.
pub(crate) const PROGRAM: &str = "weft-boundary";

/// A way of the packets between the device and the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// From Python, by the generated module.
    Python,
    /// From Kotlin on this machine's JVM, by the generated classes.
    Kotlin,
    /// From Swift, by the C functions and the Apple shell's own path.
    Swift,
    /// From Rust, without another language in between.
    Queue,
    /// By the descriptor of a TUN device, from a socket.
    Descriptor,
}

impl Row {
    /// Those that have a boundary to cross.
    pub(crate) const OURS: &'static [&'static str] = &["python", "kotlin", "swift"];
    /// Those that have none.
    pub(crate) const PEERS: &'static [&'static str] = &["queue", "descriptor"];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Kotlin => "kotlin",
            Self::Swift => "swift",
            Self::Queue => "queue",
            Self::Descriptor => "descriptor",
        }
    }

    /// Whether what it takes is there.
    ///
    /// # Errors
    /// It is not; the message says what to do.
    pub(crate) fn find(self) -> Result<()> {
        match self {
            Self::Python => python_module().map(drop),
            Self::Kotlin => kotlin_arguments().map(drop),
            Self::Swift => swift_program().map(drop),
            Self::Queue | Self::Descriptor => weft_e2e::program(PROGRAM).map(drop),
        }
    }

    /// The program, which is told the rest by its environment.
    pub(crate) fn command(self, host: &Host) -> Result<Command> {
        match self {
            Self::Python => {
                let scripts = Path::new(env!("CARGO_MANIFEST_DIR"));
                let mut command = host.command("python3");
                command.arg("-B").arg(scripts.join("src/boundary/carry.py"));
                let phone = scripts.join("../e2e/python");
                let path = format!("{}:{}", python_module()?.display(), phone.display());
                command.env("PYTHONPATH", path);
                Ok(command)
            }
            Self::Kotlin => {
                let mut command = host.command("java");
                command.arg(format!("@{}", kotlin_arguments()?.display()));
                Ok(command)
            }
            Self::Swift => {
                // Its libraries are found by the script, which is told where cargo's output is.
                let program = swift_program()?;
                let target = program.ancestors().nth(4).context("no folder of cargo's output")?;
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build-scripts/swift-rate");
                let mut command = host.command(script);
                command.arg("run").env("CARGO_TARGET_DIR", target);
                Ok(command)
            }
            Self::Queue | Self::Descriptor => {
                let mut command = host.command(weft_e2e::program(PROGRAM)?);
                command.arg(self.name());
                Ok(command)
            }
        }
    }
}

/// The folder with the generated module and the core beside it.
fn python_module() -> Result<PathBuf> {
    let missing = || "not built: run build-scripts/python-bindings --release";
    let module = weft_e2e::program("python/weft_ffi.py").with_context(missing)?;
    Ok(module.parent().with_context(missing)?.to_owned())
}

/// What java is told.
fn kotlin_arguments() -> Result<PathBuf> {
    weft_e2e::program("kotlin/args").context("not built: run build-scripts/kotlin-rate")
}

/// The Apple shell's own program.
fn swift_program() -> Result<PathBuf> {
    let built = weft_e2e::program("apple/build/release/BoundaryRate");
    built.context("not built: run build-scripts/swift-rate build")
}
