//! `daypass deny`.

use super::client::Client;
use super::output::say;
use super::{Exit, Failure, OutputOption, arguments};
use crate::control::model::{DenyRequest, RequestInfo};

/// Arguments of `deny`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    output: OutputOption,
    /// The request's ID
    #[arg(value_parser = arguments::id)]
    id: String,
    /// Why: the requester reads it
    #[arg(long, value_name = "REASON")]
    reason: String,
}

/// Refuses a request.
pub async fn run(arguments: Arguments, client: &Client) -> Result<Exit, Failure> {
    let path = format!("/v1/requests/{}/deny", arguments.id);
    let body = DenyRequest { reason: arguments.reason };
    let request: RequestInfo = client.post(&path, &body).await?;
    arguments.output.open().done(&request)?;
    say(&format!("{} denied", arguments.id));
    Ok(Exit::Done)
}
