//! `daypass request`.

use std::time::Duration;

use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use super::client::Client;
use super::output::{Output, say};
use super::{Exit, Failure, OutputOption, arguments, grant};
use crate::control::model::{CreateRequest, GrantInfo, List, RequestInfo, RequestState};
use crate::control::words::moment;

/// How often a waiting client looks.
const POLL: Duration = Duration::from_millis(500);
/// How many looks in a row may fail: the proxy may be restarting.
const FAILED_LOOKS_MAX: u32 = 60;

/// Arguments of `request`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    output: OutputOption,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Ask for a grant, and print the request's ID
    Create(Create),
    /// List requests
    List {
        /// Decided, cancelled and expired ones, too
        #[arg(long)]
        all: bool,
    },
    /// Show a request
    Show {
        /// The request's ID
        #[arg(value_parser = arguments::id)]
        id: String,
    },
    /// Withdraw a request
    Cancel {
        /// The request's ID
        #[arg(value_parser = arguments::id)]
        id: String,
    },
}

#[derive(clap::Args)]
struct Create {
    /// Who is to hold the grant (operators have to say; a principal asks for itself)
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    #[command(flatten)]
    grant: arguments::GrantWish,
    /// Wait for the decision: exit 0 approved, 2 denied, 3 still pending when interrupted
    #[arg(long)]
    wait: bool,
}

/// Does it.
pub async fn run(arguments: Arguments, client: &Client) -> Result<Exit, Failure> {
    let output = arguments.output.open();
    match arguments.verb {
        Verb::Create(arguments) => return create(arguments, client, &output).await,
        Verb::List { all } => {
            let list: List<RequestInfo> = client.get(&format!("/v1/requests?all={all}")).await?;
            output.list(&list.items)?;
        }
        Verb::Show { id } => {
            let request: RequestInfo = client.get(&format!("/v1/requests/{id}")).await?;
            output.one(&request)?;
        }
        Verb::Cancel { id } => {
            let path = format!("/v1/requests/{id}/cancel");
            let request: RequestInfo = client.post(&path, &()).await?;
            output.done(&request)?;
            say(&format!("{id} cancelled"));
        }
    }
    Ok(Exit::Done)
}

async fn create(arguments: Create, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let body = CreateRequest {
        principal: arguments.user,
        database: arguments.grant.database,
        privileges: arguments.grant.privilege,
        duration: arguments.grant.duration,
        reason: arguments.grant.reason,
        ticket: arguments.grant.ticket,
        route: arguments.grant.route,
        ..CreateRequest::default()
    };
    let request: RequestInfo = client.post("/v1/requests", &body).await?;
    if !output.is_json() || !arguments.wait {
        output.made(&request, &request.id)?;
    }
    say(&format!(
        "pending until {}; an approver decides it with: daypass approve {}",
        moment(request.waits_until),
        request.id
    ));
    if !arguments.wait {
        return Ok(Exit::Pending);
    }
    let decided = tokio::select! {
        decided = wait(client, &request.id) => decided?,
        interrupted = interruption() => {
            interrupted.map_err(|error| Failure::Failed(format!("cannot hear signals: {error}")))?;
            say(&format!("{} is still pending", request.id));
            return Ok(Exit::Pending);
        }
    };
    // JSON is one document: the request as it ended.
    output.done(&decided)?;
    tell(&decided, client).await
}

/// SIGINT or SIGTERM.
async fn interruption() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done,
        _ = terminate.recv() => Ok(()),
    }
}

async fn wait(client: &Client, id: &str) -> Result<RequestInfo, Failure> {
    let path = format!("/v1/requests/{id}");
    let mut failed = 0;
    loop {
        match client.get::<RequestInfo>(&path).await {
            Ok(request) if request.state != RequestState::Pending => return Ok(request),
            Ok(_) => failed = 0,
            Err(Failure::Unreachable { .. }) if failed < FAILED_LOOKS_MAX => failed += 1,
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Says how a request ended.
async fn tell(request: &RequestInfo, client: &Client) -> Result<Exit, Failure> {
    let by = request.decided_by.as_deref().unwrap_or("nobody");
    match request.state {
        RequestState::Pending => Ok(Exit::Pending),
        RequestState::Approved => {
            say(&format!("approved by {by}"));
            if let Some(id) = &request.grant {
                let made: GrantInfo = client.get(&format!("/v1/grants/{id}")).await?;
                say(&format!("{id}: {}", grant::held(&made)));
            }
            Ok(Exit::Done)
        }
        RequestState::Denied => {
            let because = request.denial.as_deref().unwrap_or("no reason given");
            say(&format!("denied by {by}: {because}"));
            Ok(Exit::Denied)
        }
        RequestState::Cancelled => {
            say(&format!("cancelled by {by}"));
            Ok(Exit::Denied)
        }
        RequestState::Expired => {
            say("expired: nobody decided in time");
            Ok(Exit::Denied)
        }
    }
}
