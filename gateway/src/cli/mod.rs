//! The command line.

mod args;
mod certificate;
mod device;
mod init;
mod output;
mod profile;
mod status;
mod token;

use std::process::ExitCode;

use clap::Parser;

use crate::config::Config;
use crate::control::{self, ControlError, Request};
use crate::dir::StateDir;
use crate::store::{Store, StoreError};
use args::{Arguments, Command};

/// Why a command failed; the exit code follows from it.
#[derive(Debug)]
enum Failure {
    /// 3: what was named is not there.
    NotFound(String),
    /// 4: no server runs.
    NotRunning(String),
    /// 1: the rest.
    Other(anyhow::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::NotFound(_) => 3,
            Self::NotRunning(_) => 4,
        }
    }

    fn line(&self) -> String {
        match self {
            Self::NotFound(line) | Self::NotRunning(line) => line.clone(),
            Self::Other(error) => format!("{error:#}"),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        if let Some(StoreError::NoDevice(_) | StoreError::NoProfile(_)) = error.downcast_ref() {
            return Self::NotFound(error.to_string());
        }
        if let Some(ControlError::NotRunning) = error.downcast_ref() {
            return Self::NotRunning(error.to_string());
        }
        Self::Other(error)
    }
}

/// Runs the program and gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let dir = StateDir::new(arguments.dir);
    let outcome = match arguments.command {
        Command::Init(options) => init::init(&dir, options),
        Command::Run(options) => crate::run::run(&dir, &options.log).map_err(Failure::from),
        Command::Token(command) => token::token(&dir, command),
        Command::Device(command) => device::device(&dir, command),
        Command::Profile(command) => profile::profile(&dir, command),
        Command::Status(options) => status::status(&dir, options.json),
        Command::Certificate(command) => certificate::certificate(&dir, &command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("weft-gateway: {}", failure.line());
            ExitCode::from(failure.code())
        }
    }
}

/// Opens the store of a directory that `init` has made.
fn open_store(dir: &StateDir) -> Result<Store, Failure> {
    dir.require()?;
    Ok(Store::open(&dir.database())?)
}

/// Reads the configuration of a directory that `init` has made.
fn read_config(dir: &StateDir) -> Result<Config, Failure> {
    dir.require()?;
    Ok(Config::load(dir)?)
}

/// Tells a running server that the store has changed.
fn announce(dir: &StateDir) -> Result<(), Failure> {
    match control::call(dir, Request::Reload) {
        Ok(_) | Err(ControlError::NotRunning) => Ok(()),
        Err(error) => {
            let error = anyhow::Error::from(error);
            Err(Failure::Other(
                error.context("the change is stored, but does not hold yet: restart the gateway"),
            ))
        }
    }
}
