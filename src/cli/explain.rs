//! `daypass explain`.

use super::client::Client;
use super::output::say;
use super::{Exit, Failure, OutputOption};
use crate::control::model::{Explain, ExplainedAccess, List};

/// Arguments of `explain`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    output: OutputOption,
    /// Whose grants are looked at
    #[arg(long, value_name = "USER")]
    user: String,
    /// On which database of the configuration
    #[arg(long, value_name = "DATABASE")]
    database: String,
    /// Look for names there, not where the user's sessions begin: "a, b"
    #[arg(long, value_name = "SCHEMAS")]
    search_path: Option<String>,
    /// The statement, or several; none of them runs
    sql: String,
}

/// Does it.
pub async fn run(arguments: Arguments, client: &Client) -> Result<Exit, Failure> {
    let output = arguments.output.open();
    let body = Explain {
        principal: arguments.user,
        database: arguments.database,
        sql: arguments.sql,
        search_path: arguments.search_path,
    };
    let list: List<ExplainedAccess> = client.post("/v1/explain", &body).await?;
    output.list(&list.items)?;
    if list.items.iter().all(|line| line.allowed) {
        return Ok(Exit::Done);
    }
    say(&format!(
        "{} may not run it on {}: no live grant allows what is missing",
        body.principal, body.database
    ));
    Ok(Exit::Denied)
}
