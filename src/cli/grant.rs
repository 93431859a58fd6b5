//! `daypass grant`.

use clap::Subcommand;

use super::client::Client;
use super::output::say;
use super::rows::privileges;
use super::{Exit, Failure, OutputOption, arguments};
use crate::control::model::{CreateGrant, GrantInfo, List, RevokeGrant};
use crate::control::words::moment;
use crate::grant::Route;

/// Arguments of `grant`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    output: OutputOption,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Create a grant without a request, and print its ID (operators)
    Create(Create),
    /// List grants
    List {
        /// Expired and revoked ones, too
        #[arg(long)]
        all: bool,
    },
    /// Show a grant
    Show {
        /// The grant's ID
        #[arg(value_parser = arguments::id)]
        id: String,
    },
    /// Take a grant back: its running statements are cancelled
    Revoke {
        /// The grant's ID
        #[arg(value_parser = arguments::id)]
        id: String,
        /// Why
        #[arg(long, value_name = "REASON")]
        reason: Option<String>,
    },
}

#[derive(clap::Args)]
struct Create {
    /// Who is to hold it
    #[arg(long, value_name = "USER")]
    user: String,
    #[command(flatten)]
    grant: arguments::GrantWish,
}

/// Does it.
pub async fn run(arguments: Arguments, client: &Client) -> Result<Exit, Failure> {
    let output = arguments.output.open();
    match arguments.verb {
        Verb::Create(create) => {
            let body = CreateGrant {
                principal: create.user,
                database: create.grant.database,
                privileges: create.grant.privilege,
                duration: create.grant.duration,
                reason: create.grant.reason,
                ticket: create.grant.ticket,
                route: create.grant.route,
                ..CreateGrant::default()
            };
            let grant: GrantInfo = client.post("/v1/grants", &body).await?;
            output.made(&grant, &grant.id)?;
            say(&held(&grant));
        }
        Verb::List { all } => {
            let list: List<GrantInfo> = client.get(&format!("/v1/grants?all={all}")).await?;
            output.list(&list.items)?;
        }
        Verb::Show { id } => {
            let grant: GrantInfo = client.get(&format!("/v1/grants/{id}")).await?;
            output.one(&grant)?;
        }
        Verb::Revoke { id, reason } => {
            let path = format!("/v1/grants/{id}/revoke");
            let grant: GrantInfo = client.post(&path, &RevokeGrant { reason }).await?;
            output.done(&grant)?;
            say(&format!("{id} revoked: {} no longer holds it", grant.principal));
        }
    }
    Ok(Exit::Done)
}

/// Who holds what, where and until when.
pub fn held(grant: &GrantInfo) -> String {
    let at = match grant.route {
        Route::Any => "",
        Route::ReplicaOnly => ", at its replicas only,",
    };
    format!(
        "{} holds {} on {}{at} until {}",
        grant.principal,
        privileges(&grant.privileges),
        grant.database,
        moment(grant.expires)
    )
}
