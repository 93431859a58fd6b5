//! `daypass serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Exit, output};

/// Arguments of `serve`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the proxy until it is told to stop.
pub fn run(arguments: &Arguments) -> ExitCode {
    // The lead wires `crate::server::serve(&arguments.config)` here.
    output::say(&format!(
        "daypass: serve --config {} is not wired yet",
        arguments.config.display()
    ));
    Exit::Failed.into()
}
