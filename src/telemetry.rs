//! The proxy's own log, on standard error. Standard output is for data.

use std::io::IsTerminal;

use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

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

/// Changes the level of the log that was started.
pub struct LogLevel(Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl LogLevel {
    /// Takes another level from now on, unless `DAYPASS_LOG` overrules what is configured.
    ///
    /// # Errors
    /// When the level cannot be read.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        (self.0)(filter(level)?).map_err(|error| LogError(error.to_string()))
    }
}

fn filter(configured: &str) -> Result<EnvFilter, LogError> {
    let level = std::env::var("DAYPASS_LOG").unwrap_or_else(|_| configured.to_owned());
    EnvFilter::try_new(level).map_err(|error| LogError(error.to_string()))
}

/// Sends the log to standard error from now on, for the whole process. `DAYPASS_LOG` overrules the
/// configured level.
///
/// # Errors
/// When the level cannot be read, or the process has a log already.
pub fn start(log: &Log) -> Result<LogLevel, LogError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&log.level)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let (started, level) = match log.format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            let level = LogLevel(Box::new(move |filter| handle.reload(filter)));
            (builder.finish().try_init(), level)
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let level = LogLevel(Box::new(move |filter| handle.reload(filter)));
            (builder.finish().try_init(), level)
        }
    };
    started.map(|()| level).map_err(|error| LogError(error.to_string()))
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
