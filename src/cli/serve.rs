//! `daypass serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Exit, output};
use crate::server;

/// Arguments of `serve`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the proxy until it is told to stop.
pub fn run(arguments: &Arguments) -> ExitCode {
    match server::serve(&arguments.config) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            output::say(&format!("daypass: {error}"));
            Exit::Failed.into()
        }
    }
}
