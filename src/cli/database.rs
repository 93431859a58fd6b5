//! `daypass database`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use serde_json::Value;

use super::client::Client;
use super::output::{Output, say, write};
use super::rows::{StandingUse, Word};
use super::{Exit, Failure, OutputOption, arguments};
use crate::audit::tail::{self, Filter};
use crate::control::model::{Finding, List, Standing, StatementsSeen, Weight};
use crate::grant::denial::shell_line;
use crate::grant::privilege::{self, Item, Privilege};
use crate::sql::Engine;
use crate::time::Timestamp;

/// What lines that ask in place of standing privileges ask for: a day's work.
const ASKED_FOR: Duration = Duration::from_hours(8);

const CHECK: &str = "\
Findings go to standard error, the SQL that mends them to standard output: a
superuser reads it, and then runs it in that database. Exits with 1 when grants
cannot be given or held to.";

const AUDIT: &str = "\
Privileges are written as `daypass request create --privilege` takes them.

With --since, the proxy's audit file says what the principal of each role's
name has used of them through the proxy since then, and when last; and where the
server has the extension pg_stat_statements, what its statements say that the
role has used directly, since they were reset and without when. Statements that
cannot be read or understood are counted. For each privilege there is the line
with which its holder would ask for what was used instead.";

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
        database: String,
        /// Say what was used in that time: 30d
        #[arg(long, value_name = "DURATION", value_parser = arguments::past)]
        since: Option<Duration>,
    },
}

/// What was used, by principal: an access in the grammar of grants, and when last.
type Uses = BTreeMap<String, BTreeMap<String, String>>;

/// Lists standing privileges beside what the audit file says of their use.
async fn used(
    items: Vec<Standing>,
    database: &str,
    since: Duration,
    client: &Client,
    output: &Output,
) -> Result<(), Failure> {
    let word = arguments::path_word(database).map_err(Failure::Failed)?;
    let file = super::audit::file(client).await?;
    let now = Timestamp::from(SystemTime::now());
    let from = Timestamp::from_micros(
        now.micros().saturating_sub(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)),
    );
    let filter = Filter {
        kind: Some("decision".into()),
        database: Some(database.to_owned()),
        ..Filter::default()
    };
    let mut uses = Uses::new();
    let first = tail::since(&file, from, &filter, |record| note(record, &mut uses));
    let first = first.map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
    if let Some(first) = first {
        say(&format!("{} goes back to {first} only", file.display()));
    }
    let seen: StatementsSeen = client.get(&format!("/v1/databases/{word}/statements")).await?;
    say_seen(&seen);
    let direct = |role: &str| seen.roles.iter().find(|it| it.role == role);
    let of = |it: Standing| {
        let accesses = direct(&it.role).map_or(&[][..], |it| &it.accesses);
        beside(it, database, &uses, accesses)
    };
    let items: Vec<_> = items.into_iter().map(of).collect();
    output.list(&items)?;
    if !output.is_json() {
        let lines = items.iter().filter_map(|it| Some((&it.standing.role, it.request.as_ref()?)));
        for (role, line) in lines {
            write(&format!("# {role}\n{line}\n"))?;
        }
    }
    Ok(())
}

/// Says how far what `pg_stat_statements` has can be relied on.
fn say_seen(seen: &StatementsSeen) {
    if let Some(why) = &seen.lacking {
        say(&format!("pg_stat_statements says nothing of what was used directly: {why}"));
        return;
    }
    if let Some(since) = seen.since {
        say(&format!("pg_stat_statements goes back to {since}, and does not say when"));
    }
    for it in &seen.roles {
        let (role, all) = (&it.role, it.statements);
        if it.unreadable > 0 {
            say(&format!(
                "{} of {role}'s {all} statements cannot be read: the service account needs \
                 pg_read_all_stats",
                it.unreadable
            ));
        }
        if it.not_understood > 0 {
            let count = it.not_understood;
            say(&format!("{count} of {role}'s {all} statements are not understood in full"));
        }
    }
}

/// Notes what an allowed statement used. Records come latest first.
fn note(record: &Value, uses: &mut Uses) {
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    let (Some(principal), Some(time), Some("allow")) =
        (text("principal"), text("time"), text("decision"))
    else {
        return;
    };
    let accesses = record.get("accesses").and_then(Value::as_array).into_iter().flatten();
    let of = uses.entry(principal.to_owned()).or_default();
    for access in accesses.filter_map(Value::as_str) {
        of.entry(access.to_owned()).or_insert_with(|| time.to_owned());
    }
}

/// A standing privilege, what its role's principal used of it, what the role itself did, and how it would be
/// asked for.
fn beside(standing: Standing, database: &str, uses: &Uses, direct: &[String]) -> StandingUse {
    let read = |text: &str| privilege::parse(text, Engine::Postgres, database).ok();
    // Attributes of roles are no privileges, and nobody can ask for them.
    let Some(held) = read(&standing.privilege) else {
        return StandingUse {
            standing,
            used: None,
            last_used: None,
            used_directly: None,
            request: None,
        };
    };
    let part = |access: &String| held.used_by(&read(access)?);
    let shown = |items: Vec<Item>| {
        (!items.is_empty()).then(|| Privilege::new(items, held.object.clone()).to_string())
    };
    let mut items = Vec::new();
    let mut last_used: Option<&String> = None;
    for (access, time) in uses.get(&standing.role).into_iter().flatten() {
        if let Some(part) = part(access) {
            items.extend(part.items);
            last_used = last_used.max(Some(time));
        }
    }
    let itself: Vec<Item> = direct.iter().filter_map(part).flat_map(|part| part.items).collect();
    let both = items.iter().chain(&itself).cloned().collect();
    let asked = shown(both).unwrap_or_else(|| standing.privilege.clone());
    StandingUse {
        used: shown(items),
        last_used: last_used.cloned(),
        used_directly: shown(itself),
        request: Some(shell_line(database, &[asked], ASKED_FOR)),
        standing,
    }
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
        Verb::Audit { database, since } => {
            let word = arguments::path_word(&database).map_err(Failure::Failed)?;
            let list: List<Standing> =
                client.get(&format!("/v1/databases/{word}/standing")).await?;
            match since {
                None => output.list(&list.items)?,
                Some(since) => used(list.items, &database, since, client, &output).await?,
            }
        }
    }
    Ok(Exit::Done)
}
