//! The command line: a file per verb, each a client of the HTTP API, but for `serve` and `check`.
//!
//! Data goes to standard output, prose to standard error.

mod approve;
mod arguments;
mod audit;
mod check;
mod client;
mod database;
mod deny;
mod explain;
mod grant;
mod output;
mod request;
mod rows;
mod serve;
mod session;
mod table;
mod token;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use client::Client;
use output::{Format, Output};

use crate::control::model::ErrorDetail;

const ENVIRONMENT: &str = "\
Environment:
  DAYPASS_URL    where the proxy listens: unix:PATH; else ./daypass.sock,
                 else /run/daypass/daypass.sock
  DAYPASS_TOKEN  act as the principal of this token, not as the operator

Exit codes: 0 done, 1 failed, 2 denied, 3 pending, 64 usage";

/// Just-in-time access to databases: every statement authorised against a grant that expires.
#[derive(Parser)]
#[command(name = "daypass", version, after_help = ENVIRONMENT)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the proxy
    Serve(serve::Arguments),
    /// Check a configuration file
    Check(check::Arguments),
    /// Issue, list and revoke tokens
    Token(token::Arguments),
    /// Create, list, show and revoke grants
    Grant(grant::Arguments),
    /// Ask for a grant; list, show and cancel requests
    Request(request::Arguments),
    /// Approve a request
    Approve(approve::Arguments),
    /// Deny a request
    Deny(deny::Arguments),
    /// Say what a statement needs, and which grant allows it; it does not run
    Explain(explain::Arguments),
    /// List and end open sessions
    Session(session::Arguments),
    /// Read the audit stream
    Audit(audit::Arguments),
    /// Look at a database's own roles and privileges
    Database(database::Arguments),
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    Denied = 2,
    Pending = 3,
    Usage = 64,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb was not done.
#[derive(Debug)]
enum Failure {
    /// The environment or an argument makes no sense.
    Usage(String),
    /// The proxy did not answer.
    Unreachable { message: String, hint: Option<String> },
    /// The proxy answered with an error.
    Refused(ErrorDetail),
    /// Anything else.
    Failed(String),
    /// Standard output is gone or full.
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    /// Says it on standard error, and how the program ends for it.
    fn report(self) -> Exit {
        let (exit, message, hint) = match self {
            // Whoever read the output has seen enough: `daypass grant list | head -1`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return Exit::Done,
            Self::Output(error) => {
                (Exit::Failed, format!("cannot write to standard output: {error}"), None)
            }
            Self::Usage(message) => (Exit::Usage, message, None),
            Self::Unreachable { message, hint } => (Exit::Failed, message, hint),
            Self::Failed(message) => (Exit::Failed, message, None),
            Self::Refused(error) => {
                let exit = if error.code == "not-allowed" { Exit::Denied } else { Exit::Failed };
                (exit, error.message, error.hint)
            }
        };
        output::say(&format!("daypass: {message}"));
        if let Some(hint) = hint {
            output::say(&format!("hint: {hint}"));
        }
        exit
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(cli.verb),
        Err(error) => {
            // Nobody is left to tell when this fails.
            drop(error.print());
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            exit.into()
        }
    }
}

fn run(verb: Verb) -> ExitCode {
    let verb = match verb {
        // These need no proxy; `serve` brings its own runtime.
        Verb::Serve(arguments) => return serve::run(&arguments),
        Verb::Check(arguments) => return check::run(&arguments),
        other => other,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(as_client(verb)),
        Err(error) => Err(Failure::Failed(format!("cannot start: {error}"))),
    };
    done.unwrap_or_else(Failure::report).into()
}

async fn as_client(verb: Verb) -> Result<Exit, Failure> {
    let client = Client::from_environment()?;
    match verb {
        Verb::Token(arguments) => token::run(arguments, &client).await,
        Verb::Grant(arguments) => grant::run(arguments, &client).await,
        Verb::Request(arguments) => request::run(arguments, &client).await,
        Verb::Approve(arguments) => approve::run(arguments, &client).await,
        Verb::Deny(arguments) => deny::run(arguments, &client).await,
        Verb::Explain(arguments) => explain::run(arguments, &client).await,
        Verb::Session(arguments) => session::run(arguments, &client).await,
        Verb::Database(arguments) => database::run(arguments, &client).await,
        Verb::Audit(arguments) => audit::run(arguments, &client).await,
        Verb::Serve(_) | Verb::Check(_) => Ok(Exit::Usage),
    }
}

/// `--output`, of every verb that has data to show.
#[derive(clap::Args)]
struct OutputOption {
    /// How data is written: table or json
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    #[arg(hide_possible_values = true)]
    output: Format,
}

impl OutputOption {
    fn open(&self) -> Output {
        Output::new(self.output)
    }
}
