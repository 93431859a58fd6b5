//! `daypass audit`: the audit stream, read from the file that the proxy names.

use std::path::PathBuf;

use clap::Subcommand;

use super::client::Client;
use super::output::{self, Output};
use super::{Exit, Failure, OutputOption};
use crate::audit::tail::{self, Filter, Follow, Line};
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
        /// How many of the latest
        #[arg(long, short = 'n', default_value_t = 20, value_name = "COUNT")]
        lines: usize,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// Print one record, or every one of a session, grant, request or token
    Show {
        /// The record's number, or the ID of what it is about
        id: String,
    },
}

/// Which records.
#[derive(clap::Args)]
struct Wanted {
    /// Only this kind: decision, result, grant …
    #[arg(long)]
    kind: Option<String>,
    /// Only this principal's
    #[arg(long = "user", value_name = "USER")]
    principal: Option<String>,
    /// Only on this database
    #[arg(long)]
    database: Option<String>,
    /// Only of this session
    #[arg(long)]
    session: Option<String>,
}

/// The file that the proxy writes its stream to.
pub(super) async fn file(client: &Client) -> Result<PathBuf, Failure> {
    let place: AuditPlace = client.get("/v1/audit").await?;
    place.file.map(PathBuf::from).ok_or_else(|| {
        let sentence = "the proxy writes its audit stream to standard output only";
        Failure::Failed(sentence.into())
    })
}

/// Does it.
pub async fn run(arguments: Arguments, client: &Client) -> Result<Exit, Failure> {
    let output = arguments.output.open();
    let file = file(client).await?;
    let unreadable = |error| Failure::Failed(format!("{}: {error}", file.display()));
    match arguments.verb {
        Verb::Tail { follow, lines, wanted } => {
            let Wanted { kind, principal, database, session } = wanted;
            let filter = Filter { kind, principal, database, session };
            if !output.is_json() {
                output::write(&format!("{}\n", tail::render_header(output::width())))?;
            }
            if !follow {
                for line in tail::last(&file, lines, &filter).map_err(unreadable)? {
                    show(&output, &line)?;
                }
                return Ok(Exit::Done);
            }
            for line in Follow::open(&file, lines, filter).map_err(unreadable)? {
                show(&output, &line.map_err(unreadable)?)?;
            }
            Ok(Exit::Done)
        }
        Verb::Show { id } => {
            let lines = tail::find(&file, &id).map_err(unreadable)?;
            if lines.is_empty() {
                return Err(Failure::Failed(format!("there is no record of {id}")));
            }
            for line in lines {
                let text =
                    if output.is_json() { line.raw } else { tail::render_record(&line.record) };
                output::write(&format!("{text}\n"))?;
            }
            Ok(Exit::Done)
        }
    }
}

fn show(output: &Output, line: &Line) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(output::write(&format!("{}\n", line.raw))?);
    }
    // Asked each time: a terminal changes its size while it follows.
    let text = tail::render_line(&line.record, output::width());
    Ok(output::write(&format!("{text}\n"))?)
}
