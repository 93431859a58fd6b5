//! The proxy's own log, on standard error. Standard output is for data.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// `[log]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// A level, or directives as `tracing-subscriber`'s `EnvFilter` has them:
    /// `info,daypass::upstream=debug`.
    pub level: String,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: an object a line.
    Json,
}

/// Checks a level or directives as `EnvFilter` has them.
///
/// # Errors
/// In the filter's words.
pub fn check_level(level: &str) -> Result<(), String> {
    EnvFilter::try_new(level).map(drop).map_err(|error| error.to_string())
}

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be set up: {0}")]
pub struct LogError(String);

/// Sends the log to standard error from now on, for the whole process. `DAYPASS_LOG` overrules the
/// configured level.
///
/// # Errors
/// When the level cannot be read, or the process has a log already.
pub fn start(log: &Log) -> Result<(), LogError> {
    let level = std::env::var("DAYPASS_LOG").unwrap_or_else(|_| log.level.clone());
    let filter = EnvFilter::try_new(level).map_err(|error| LogError(error.to_string()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| LogError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_checked_before_they_are_used() {
        assert!(check_level("info").is_ok());
        assert!(check_level("info,daypass::upstream=debug").is_ok());
        assert!(check_level("daypass=loud").is_err());
    }
}
