//! What a client may see of a refusal: number, SQLSTATE, one sentence. Nothing else of it leaves.

use std::time::Duration;

use crate::grant::decide::Denial;
use crate::grant::denial::NeedsPrimary;
use crate::session::machine::{ANOTHER_TOKEN, Farewell, TOKEN_REVOKED};
use crate::session::refusal::{Ended, Refusal};
use crate::session::trail::Facts;
use crate::sql::access::{Access, Columns, Object};
use crate::sql::statement::NotUnderstood;
use crate::upstream::UpstreamError;
use crate::wire::mysql::report::{MESSAGE_BYTES_MAX, Report};

const STATE: &str = "42000";

/// The error for a refusal.
pub(super) fn report(refusal: &Refusal, facts: &Facts) -> Report {
    match refusal {
        Refusal::Denied(denial) => denied(denial, facts),
        Refusal::NeedsPrimary(needs) => needs_primary(needs, facts),
        Refusal::NoReplica { grants, why } => {
            let message = format!("{grants}, and no replica can serve it now: {why}");
            Report::new(1105, "HY000", message).hint(NO_REPLICA)
        }
        Refusal::NotUnderstood(why) => not_understood(why),
        Refusal::Cancelled(ended) => {
            Report::new(1317, "70100", format!("Query execution was interrupted: {}", say(ended)))
                .hint(ASK_AGAIN)
        }
        Refusal::TransactionEnded(ended) => Report::new(
            1227,
            STATE,
            format!("this transaction can only be rolled back: {}", say(ended)),
        )
        .detail("The transaction used that grant.")
        .hint(format!("ROLLBACK, then: {ASK_AGAIN}")),
        Refusal::AuditDown => {
            Report::new(1105, "HY000", "the audit stream takes no records, so nothing runs")
                .hint("The operator of the proxy has to mend its audit sink.")
        }
        Refusal::NoStatement(name) => Report::new(
            1243,
            "HY000",
            format!("Unknown prepared statement handler ({name}) given to EXECUTE"),
        ),
        Refusal::NoPortal(name) => {
            Report::new(1421, "HY000", format!("The statement ({name}) has no open cursor."))
        }
        Refusal::TooMany { what } => Report::new(1105, "HY000", what.clone()),
        Refusal::Owner { owner, why } => {
            Report::new(1227, STATE, format!("the ddl-owner {owner} cannot be used: {why}"))
        }
        Refusal::AtReplica(rule) => {
            Report::new(1792, "25006", format!("the statement has to run at the primary: {rule}"))
                .detail("Its transaction is READ ONLY, so a replica has it.")
                .hint("End the transaction, and begin one without READ ONLY for it.")
        }
        Refusal::NoneServes(why) => {
            Report::new(1105, "HY000", format!("no replica can serve the statement: {why}"))
                .hint(NO_REPLICA)
        }
        // MySQL has no such state.
        Refusal::FailedTransaction => Report::new(1105, "HY000", "the transaction has failed"),
        Refusal::Unsupported { what, hint } => {
            let report = Report::new(1235, STATE, what.clone());
            hint.iter().fold(report, |report, hint| report.hint(hint))
        }
        Refusal::Encoding => Report::new(
            1300,
            "HY000",
            "the statement holds more than ASCII, in a character set that is not read here",
        )
        .hint("Use utf8mb4."),
        Refusal::Call(error) => {
            let (code, state) = match error.sqlstate {
                "42883" => (1305, STATE),
                other => (1644, other),
            };
            let mut report = Report::new(code, state, error.message.clone());
            report.detail.clone_from(&error.detail);
            report.hint.clone_from(&error.hint);
            report
        }
    }
}

/// How long the ready-made request asks for.
const SUGGESTED: Duration = Duration::from_secs(30 * 60);

/// What is missing is told that far at least.
const MISSING_BYTES_MIN: usize = 120;

const ASK_AGAIN: &str =
    "CALL daypass.grants() lists what you hold; CALL daypass.help() tells how to ask for more.";

/// The way to ask stands before what is held: a client keeps only the start of a long sentence. What is missing may
/// take what the way to ask leaves of it.
fn denied(denial: &Denial, facts: &Facts) -> Report {
    let engine = facts.engine;
    let lines = denial.request_lines(&facts.database, engine, SUGGESTED);
    let ask = format!("Ask for it here: {}", lines.sql);
    let missing = denial.message_within(engine, left_beside(&ask));
    Report::new(code_for(&denial.missing), STATE, format!("{DENIED}{missing}"))
        .detail(ask)
        .hint(denial.detail(engine))
}

fn needs_primary(needs: &NeedsPrimary, facts: &Facts) -> Report {
    let lines = needs.request_lines(&facts.database, facts.engine, SUGGESTED);
    let ask = format!("Ask for it at the primary, too: {}", lines.sql);
    let message = needs.message_within(left_beside(&ask));
    Report::new(code_for(needs.missing()), STATE, format!("{DENIED}{message}")).detail(ask)
}

const DENIED: &str = "permission denied: ";

const NO_REPLICA: &str = "Try again later, or ask for a grant that is not bound to replicas: CALL daypass.help() tells how.";

/// How many bytes the way to ask leaves of the sentence.
fn left_beside(ask: &str) -> usize {
    let left = MESSAGE_BYTES_MAX.saturating_sub(DENIED.len() + ". ".len() + ask.len());
    left.max(MISSING_BYTES_MIN)
}

/// The server's number for the first that is missing.
fn code_for(missing: &[Access]) -> u16 {
    // Without any grant the first that is missing is one, whichever: it has no number of its own.
    match missing.iter().find(|access| **access != Access::Metadata) {
        Some(Access::Privilege { columns: Columns::Named(_), .. }) => 1143,
        Some(
            Access::Privilege { object: Object::Relation(_), .. }
            | Access::OneOf { object: Object::Relation(_), .. }
            | Access::Anything(Object::Relation(_)),
        ) => 1142,
        _ => 1227,
    }
}

fn say(ended: &Ended) -> String {
    format!("grant {} {}", ended.grant, ended.how)
}

fn not_understood(why: &NotUnderstood) -> Report {
    match why {
        NotUnderstood::Syntax { message, .. } => Report::new(1064, STATE, message.clone()),
        NotUnderstood::Unsupported { what, hint } => {
            let report = Report::new(1235, STATE, what.clone());
            hint.iter().fold(report, |report, hint| report.hint(hint))
        }
        NotUnderstood::Undefined { sqlstate, message, .. } => {
            let code = match *sqlstate {
                "42S02" => 1146,
                "42S22" => 1054,
                "3D000" => 1046,
                _ => 1305,
            };
            Report::new(code, sqlstate, message.clone())
        }
        NotUnderstood::TooComplex { what } => Report::new(1436, "HY000", what.clone()),
    }
}

/// The error for a server that could not be reached. What the server says of the service account stays
/// with the operator.
pub(super) fn upstream_report(error: &UpstreamError) -> Report {
    const LATER: &str = "Try again later; the operator of the proxy has the reason in its log.";
    let (code, state, message) = match error {
        UpstreamError::MysqlRefused { code: 1049, .. } => (1049, STATE, "Unknown database"),
        // Of the default schema that the client names.
        UpstreamError::MysqlRefused { code: 1044, .. } => {
            let message = "no live grant allows anything in the default schema";
            return Report::new(1044, STATE, message).hint(
                "Connect without a schema: CALL daypass.help() tells how to ask for a grant.",
            );
        }
        UpstreamError::MysqlRefused { code: 1040, .. } => {
            (1040, "08004", "the database server has no connection left")
        }
        UpstreamError::MysqlRefused { .. } => {
            (1105, "08004", "the database server does not take the proxy")
        }
        UpstreamError::Roles(_) => {
            (1105, "08004", "the second lock of this database cannot be opened now")
        }
        _ => (1105, "08S01", "the database server cannot be reached"),
    };
    Report::new(code, state, message).hint(LATER)
}

/// A last word to the client, and its number where no reply is under way: what answers a command comes second,
/// what nobody has asked for first.
pub(super) fn farewell(farewell: &Farewell) -> (Report, u8) {
    let gone = |why: String| Report::new(1927, "70100", why);
    match farewell {
        // ER_MALFORMED_PACKET.
        Farewell::ClientViolation(how) => (Report::new(1835, "HY000", how.clone()), 1),
        Farewell::ServerViolation => {
            (Report::new(1105, "08S01", "the database server broke the protocol"), 0)
        }
        Farewell::Unrecorded(why) => (Report::new(1105, "HY000", *why), 1),
        Farewell::TokenRevoked => (gone(TOKEN_REVOKED.to_owned()).hint(ANOTHER_TOKEN), 0),
        Farewell::Killed { by } => (gone(format!("the session was ended by {by}")), 0),
        // ER_SERVER_SHUTDOWN.
        Farewell::Ended(why) => (Report::new(1053, "08S01", *why), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::refusal::fixture::{facts, needs_primary, no_replica};
    use crate::sql::Engine;

    #[test]
    fn who_is_bound_to_replicas_is_told_why_that_does_not_do() {
        let facts = facts(Engine::Mysql);
        let columns = Columns::Named(["a".into()].into());
        let told = report(&needs_primary(columns), &facts);
        assert_eq!((told.code, told.sqlstate), (1143, "42000"));
        assert_eq!(
            told.sentence(),
            "permission denied: grant g_1 is bound to replicas, and this statement has to run at the primary: it \
             calls s.f(), which is not known to mean the same at a replica. Ask for it at the primary, too: CALL \
             daypass.request('SELECT (a) ON s.t', '30 min', 'why')"
        );
        assert_eq!(report(&needs_primary(Columns::Whole), &facts).code, 1142);
        let told = report(&no_replica(), &facts);
        assert_eq!((told.code, told.sqlstate), (1105, "HY000"));
        assert_eq!(
            told.sentence(),
            format!(
                "grant g_1 is bound to replicas, and no replica can serve it now: both lag too far behind. {NO_REPLICA}"
            )
        );
    }
}
