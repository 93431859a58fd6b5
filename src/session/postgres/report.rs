//! What a client may see of a refusal: SQLSTATE, sentence, DETAIL, HINT. Nothing else of it leaves.

use std::time::Duration;

use crate::session::machine::{ANOTHER_TOKEN, Farewell, TOKEN_REVOKED};
use crate::session::refusal::{Ended, Refusal};
use crate::session::trail::Facts;
use crate::sql::statement::NotUnderstood;
use crate::upstream::UpstreamError;
use crate::wire::postgres::reply::Report;

/// The error for a refusal.
pub(super) fn report(refusal: &Refusal, facts: &Facts) -> Report {
    match refusal {
        Refusal::Denied(denial) => {
            let engine = facts.engine;
            let lines = denial.request_lines(&facts.database, engine, SUGGESTED);
            Report::error("42501", format!("permission denied: {}", denial.message(engine)))
                .detail(denial.detail(engine))
                .hint(format!("Ask for it here: {}\nor in a shell: {}", lines.sql, lines.shell))
        }
        Refusal::NeedsPrimary(needs) => {
            let lines = needs.request_lines(&facts.database, facts.engine, SUGGESTED);
            let (sql, shell) = (lines.sql, lines.shell);
            Report::error("42501", format!("permission denied: {}", needs.message()))
                .hint(format!("Ask for it at the primary, too: {sql}\nor in a shell: {shell}"))
        }
        Refusal::NoReplica { grants, why } => {
            Report::error("57P03", format!("{grants}, and no replica can serve it now: {why}"))
                .hint(NO_REPLICA)
        }
        Refusal::NotUnderstood(why) => not_understood(why),
        Refusal::Cancelled(ended) => {
            Report::error("57014", format!("canceling statement: {}", sentence(ended)))
                .detail("The statement ran under that grant.")
                .hint(ASK_AGAIN)
        }
        Refusal::TransactionEnded(ended) => Report::error(
            "42501",
            format!("this transaction can only be rolled back: {}", sentence(ended)),
        )
        .detail("The transaction used that grant.")
        .hint(format!("ROLLBACK, then: {ASK_AGAIN}")),
        Refusal::AuditDown => {
            Report::error("58030", "the audit stream takes no records, so nothing runs")
                .hint("The operator of the proxy has to mend its audit sink.")
        }
        Refusal::NoStatement(name) => {
            let message = match &**name {
                "" => "unnamed prepared statement does not exist".into(),
                name => format!("prepared statement \"{name}\" does not exist"),
            };
            Report::error("26000", message)
        }
        Refusal::NoPortal(name) => {
            Report::error("34000", format!("portal \"{name}\" does not exist"))
        }
        Refusal::TooMany { what } => Report::error("54000", what.clone()),
        Refusal::Owner { owner, why } => {
            Report::error("42501", format!("the ddl-owner {owner} cannot be used: {why}")).hint(
                format!("Its operator finds out why: daypass database check {}", facts.database),
            )
        }
        Refusal::AtReplica(rule) => {
            Report::error("25006", format!("the statement has to run at the primary: {rule}"))
                .detail("Its transaction is READ ONLY, so a replica has it.")
                .hint("End the transaction, and BEGIN one without READ ONLY for it.")
        }
        Refusal::NoneServes(why) => {
            Report::error("57P03", format!("no replica can serve the statement: {why}"))
                .detail("Reads of this database are kept off the primary (replica-floor = \"error\"), or what you hold is bound to replicas.")
                .hint("Try again later.")
        }
        Refusal::FailedTransaction => Report::error(
            "25P02",
            "current transaction is aborted, commands ignored until end of transaction block",
        ),
        Refusal::Unsupported { what, hint } => {
            let report = Report::error("0A000", what.clone());
            hint.iter().fold(report, |report, hint| report.hint(hint))
        }
        Refusal::Encoding => Report::error(
            "22021",
            "the statement is not valid in the client's encoding",
        )
        .hint("Use client_encoding UTF8, or keep statements to ASCII and pass text as parameters."),
        Refusal::Call(error) => {
            let mut report = Report::error(error.sqlstate, error.message.clone());
            report.detail.clone_from(&error.detail);
            report.hint.clone_from(&error.hint);
            report
        }
    }
}

/// How long the ready-made request asks for.
const SUGGESTED: Duration = Duration::from_secs(30 * 60);

const ASK_AGAIN: &str =
    "CALL daypass.grants() lists what you hold; CALL daypass.help() tells how to ask for more.";

const NO_REPLICA: &str = "Try again later, or ask for a grant that is not bound to replicas: CALL daypass.help() tells how.";

fn sentence(ended: &Ended) -> String {
    format!("grant {} {}", ended.grant, ended.how)
}

fn not_understood(why: &NotUnderstood) -> Report {
    match why {
        NotUnderstood::Syntax { message, position } => {
            let mut report = Report::error("42601", message.clone());
            report.position = *position;
            report
        }
        NotUnderstood::Unsupported { what, hint } => {
            let report = Report::error("0A000", what.clone());
            hint.iter().fold(report, |report, hint| report.hint(hint))
        }
        NotUnderstood::Undefined { sqlstate, message, position } => {
            let mut report = Report::error(sqlstate, message.clone());
            report.position = *position;
            report
        }
        NotUnderstood::TooComplex { what } => Report::error("54001", what.clone()),
    }
}

/// The error for a server that could not be reached. What the server says of the service account stays
/// with the operator; what it says of the client's own settings, or of its own state, is the client's.
pub(super) fn upstream_report(error: &UpstreamError) -> Report {
    const LATER: &str = "Try again later; the operator of the proxy has the reason in its log.";
    match error {
        UpstreamError::Refused { sqlstate, message } => match &**sqlstate {
            "22023" => Report::error("22023", message.to_string()),
            "53300" => {
                Report::error("53300", "the database server has no connection left").hint(LATER)
            }
            "57P03" => Report::error("57P03", "the database server is not ready").hint(LATER),
            _ => Report::error("08004", "the database server does not take the proxy").hint(LATER),
        },
        UpstreamError::Roles(_) => {
            Report::error("08004", "the second lock of this database cannot be opened now")
                .hint(LATER)
        }
        _ => Report::error("08001", "the database server cannot be reached").hint(LATER),
    }
}

/// A last word to the client.
pub(super) fn farewell(farewell: &Farewell) -> Report {
    match farewell {
        Farewell::ClientViolation(how) => Report::fatal("08P01", how.clone()),
        Farewell::ServerViolation => {
            Report::fatal("08P01", "the database server broke the protocol")
        }
        Farewell::Unrecorded(why) => Report::fatal("58030", *why),
        Farewell::TokenRevoked => Report::fatal("57P01", TOKEN_REVOKED).hint(ANOTHER_TOKEN),
        Farewell::Killed { by } => Report::fatal("57P01", format!("the session was ended by {by}")),
        Farewell::Ended(why) => Report::fatal("57P01", *why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::refusal::fixture::{facts, needs_primary, no_replica};
    use crate::sql::Engine;
    use crate::sql::access::Columns;

    #[test]
    fn who_is_bound_to_replicas_is_told_why_that_does_not_do() {
        let columns = Columns::Named(["a".into()].into());
        let told = report(&needs_primary(columns), &facts(Engine::Postgres));
        assert_eq!(
            (told.sqlstate, &*told.message),
            (
                "42501",
                "permission denied: grant g_1 is bound to replicas, and this statement has to run at the primary: \
                 it calls s.f(), which is not known to mean the same at a replica"
            )
        );
        assert_eq!(
            told.hint.as_deref(),
            Some(
                "Ask for it at the primary, too: CALL daypass.request('SELECT (a) ON s.t', '30 min', 'why')\n\
                 or in a shell: daypass request create --database shop --privilege 'SELECT (a) ON s.t' --for 30m \
                 --reason '…'"
            )
        );
        let told = report(&no_replica(), &facts(Engine::Postgres));
        assert_eq!(
            (told.sqlstate, &*told.message, told.hint.as_deref()),
            (
                "57P03",
                "grant g_1 is bound to replicas, and no replica can serve it now: both lag too far behind",
                Some(NO_REPLICA)
            )
        );
    }
}
