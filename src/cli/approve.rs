//! `daypass approve`.

use super::client::Client;
use super::output::say;
use super::{Exit, Failure, OutputOption, arguments, grant};
use crate::control::model::GrantInfo;

/// Arguments of `approve`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    output: OutputOption,
    /// The request's ID
    #[arg(value_parser = arguments::id)]
    id: String,
}

/// Makes a request a grant, and prints the grant's ID.
pub async fn run(arguments: Arguments, client: &Client) -> Result<Exit, Failure> {
    let path = format!("/v1/requests/{}/approve", arguments.id);
    let made: GrantInfo = client.post(&path, &()).await?;
    arguments.output.open().made(&made, &made.id)?;
    say(&format!("{} approved: {}", arguments.id, grant::held(&made)));
    Ok(Exit::Done)
}
