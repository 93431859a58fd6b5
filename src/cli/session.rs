//! `daypass session`.

use clap::Subcommand;

use super::client::Client;
use super::output::say;
use super::{Exit, Failure, OutputOption, arguments};
use crate::control::model::{List, OpenSession};

/// Arguments of `session`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    output: OutputOption,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List open sessions
    List,
    /// End a session (operators, and its own principal)
    Kill {
        /// The session's ID
        #[arg(value_parser = arguments::id)]
        id: String,
    },
}

/// Does it.
pub async fn run(arguments: Arguments, client: &Client) -> Result<Exit, Failure> {
    let output = arguments.output.open();
    match arguments.verb {
        Verb::List => {
            let list: List<OpenSession> = client.get("/v1/sessions").await?;
            output.list(&list.items)?;
        }
        Verb::Kill { id } => {
            let session: OpenSession = client.post(&format!("/v1/sessions/{id}/kill"), &()).await?;
            output.done(&session)?;
            say(&format!("{id} is told to end: {} on {}", session.principal, session.database));
        }
    }
    Ok(Exit::Done)
}
