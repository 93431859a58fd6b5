//! `daypass check`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Exit, output};
use crate::server;

/// Arguments of `check`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Says every mistake of a configuration with its line and column.
pub fn run(arguments: &Arguments) -> ExitCode {
    match server::check(&arguments.config) {
        Ok(warnings) => {
            for warning in warnings {
                output::say(&format!("warning: {warning}"));
            }
            Exit::Done.into()
        }
        Err(errors) => {
            output::say(&errors.to_string());
            Exit::Failed.into()
        }
    }
}
