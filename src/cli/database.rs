//! `daypass database`.

use clap::Subcommand;

use super::client::Client;
use super::output::{say, write};
use super::rows::Word;
use super::{Exit, Failure, OutputOption, arguments};
use crate::control::model::{Finding, List, Standing, Weight};

const CHECK: &str = "\
Findings go to standard error, the SQL that mends them to standard output: a
superuser reads it, and then runs it in that database. Exits with 1 when grants
cannot be given or held to.";

const AUDIT: &str = "\
Privileges are written as `daypass request create --privilege` takes them.";

/// Arguments of `database`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    output: OutputOption,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Say what the service account lacks and what everybody may do (operators)
    #[command(after_help = CHECK)]
    Check {
        /// The database, as the configuration names it
        #[arg(value_parser = arguments::path_word)]
        database: String,
    },
    /// List what people's own roles may do without a grant (operators)
    #[command(after_help = AUDIT)]
    Audit {
        /// The database, as the configuration names it
        #[arg(value_parser = arguments::path_word)]
        database: String,
    },
}

/// Does it.
pub async fn run(arguments: Arguments, client: &Client) -> Result<Exit, Failure> {
    let output = arguments.output.open();
    match arguments.verb {
        Verb::Check { database } => {
            let path = format!("/v1/databases/{database}/check");
            let list: List<Finding> = client.get(&path).await?;
            if output.is_json() {
                output.list(&list.items)?;
            } else {
                for finding in &list.items {
                    say(&format!("{}: {}", finding.weight.word(), finding.says));
                    if let Some(mend) = &finding.mend {
                        write(&format!("{mend}\n"))?;
                    }
                }
            }
            let wrong = list.items.iter().any(|finding| finding.weight == Weight::Error);
            return Ok(if wrong { Exit::Failed } else { Exit::Done });
        }
        Verb::Audit { database } => {
            let path = format!("/v1/databases/{database}/standing");
            let list: List<Standing> = client.get(&path).await?;
            output.list(&list.items)?;
        }
    }
    Ok(Exit::Done)
}
