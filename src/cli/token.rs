//! `daypass token`.

use clap::Subcommand;

use super::client::Client;
use super::output::say;
use super::{Exit, Failure, OutputOption, arguments};
use crate::control::model::{IssueToken, IssuedToken, List, TokenInfo};
use crate::control::words::moment;

/// Arguments of `token`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    output: OutputOption,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Issue a token and print it, alone, on standard output
    Issue {
        /// Whose token: the name to log in with
        #[arg(long, value_name = "USER")]
        user: String,
        /// For how long, from now: 15m, 1h [default: as configured]
        #[arg(long, value_parser = arguments::token_duration, value_name = "DURATION")]
        ttl: Option<String>,
    },
    /// List tokens, never their text
    List {
        /// Expired and revoked ones, too
        #[arg(long)]
        all: bool,
    },
    /// Take a token back and end its sessions
    Revoke {
        /// The token's ID, as the list shows it
        #[arg(value_parser = arguments::id)]
        id: String,
    },
}

/// Does it.
pub async fn run(arguments: Arguments, client: &Client) -> Result<Exit, Failure> {
    let output = arguments.output.open();
    match arguments.verb {
        Verb::Issue { user, ttl } => {
            let body = IssueToken { principal: user, ttl };
            let issued: IssuedToken = client.post("/v1/tokens", &body).await?;
            output.made(&issued, &issued.token)?;
            say(&format!(
                "{} for {}, until {}: log in as user {} with the token as password",
                issued.info.id,
                issued.info.principal,
                moment(issued.info.expires),
                issued.info.principal
            ));
        }
        Verb::List { all } => {
            let list: List<TokenInfo> = client.get(&format!("/v1/tokens?all={all}")).await?;
            output.list(&list.items)?;
        }
        Verb::Revoke { id } => {
            let token: TokenInfo = client.post(&format!("/v1/tokens/{id}/revoke"), &()).await?;
            output.done(&token)?;
            say(&format!("{id} revoked; its sessions end now"));
        }
    }
    Ok(Exit::Done)
}
