//! Calls on the virtual schema `daypass`: what there is to call, and what an answer looks like.
//!
//! A session reads the call, binds its parameters and sends the answer; whoever implements [`Calls`]
//! does what it says. Columns are known before a call is made, since Describe comes before Execute.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::identity::{PrincipalName, TokenId};
use crate::sql::Engine;
use crate::sql::statement::{Argument, Call};

/// Who calls, and from where.
#[derive(Clone, Debug)]
pub struct InBandCaller {
    /// Who.
    pub principal: PrincipalName,
    /// Public name of the token that logged the session in.
    pub token: TokenId,
    /// The session's database.
    pub database: Arc<str>,
    /// Its engine.
    pub engine: Engine,
    /// `s_` and 12 characters.
    pub session: Arc<str>,
}

/// A [`Call`] with the values of its parameters; `None` is NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundCall {
    /// Name inside the schema, lower-case.
    pub name: Box<str>,
    /// In order.
    pub arguments: Vec<Option<Box<str>>>,
}

impl BoundCall {
    /// Puts values in the place of parameters. `value` is asked with the parameter's number, from 1,
    /// and answers with its text, which is `None` for NULL.
    ///
    /// # Errors
    /// When `value` has none for a parameter that the call names.
    pub fn bind(
        call: &Call,
        mut value: impl FnMut(u16) -> Option<Option<Box<str>>>,
    ) -> Result<Self, CallError> {
        let bound = call.arguments.iter().map(|argument| match argument {
            Argument::Null => Ok(None),
            Argument::Literal(text) => Ok(Some(text.clone())),
            Argument::Parameter(n) => value(*n).ok_or_else(|| CallError {
                sqlstate: "42P02",
                message: format!("there is no parameter ${n}"),
                detail: None,
                hint: None,
            }),
        });
        Ok(Self { name: call.name.clone(), arguments: bound.collect::<Result<_, _>>()? })
    }
}

/// The answer to a call: a small table, all of it text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallReply {
    /// Names of the columns: those of the [`Procedure`].
    pub columns: &'static [&'static str],
    /// The rows, a value a column; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

/// Why a call was not done, in the form of a server's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// SQLSTATE.
    pub sqlstate: &'static str,
    /// A sentence.
    pub message: String,
    /// DETAIL.
    pub detail: Option<String>,
    /// HINT.
    pub hint: Option<String>,
}

/// The future of an answer.
pub type CallFuture<'a> = Pin<Box<dyn Future<Output = Result<CallReply, CallError>> + Send + 'a>>;

/// Whoever answers calls.
pub trait Calls: Send + Sync {
    /// Does what a call says.
    fn call<'a>(&'a self, caller: &'a InBandCaller, call: &'a BoundCall) -> CallFuture<'a>;
}

/// Something to call.
#[derive(Debug, PartialEq, Eq)]
pub struct Procedure {
    /// Name inside the schema.
    pub name: &'static str,
    /// Arguments that have to be there.
    pub required: &'static [&'static str],
    /// Arguments that may follow.
    pub optional: &'static [&'static str],
    /// Columns of its answer.
    pub columns: &'static [&'static str],
    /// What it does, for `help()`.
    pub summary: &'static str,
}

/// The procedures that the session answers itself: only it knows what names mean there …
pub const EXPLAIN: &str = "explain";
/// … and where it is.
pub const ROUTE: &str = "route";
/// One of which it knows a part.
pub const SESSION: &str = "session";

/// Everything that can be called, in the order of `help()`.
pub const PROCEDURES: &[Procedure] = &[
    Procedure {
        name: "help",
        required: &[],
        optional: &[],
        columns: &["call", "what it does"],
        summary: "this list",
    },
    Procedure {
        name: "whoami",
        required: &[],
        optional: &[],
        columns: &["principal", "database", "token", "token expires", "approver"],
        summary: "who you are, and what proved it",
    },
    Procedure {
        name: "grants",
        required: &[],
        optional: &[],
        columns: &["grant", "database", "privileges", "route", "expires", "reason"],
        summary: "the grants that you hold",
    },
    Procedure {
        name: "requests",
        required: &[],
        optional: &[],
        columns: &[
            "request",
            "principal",
            "database",
            "state",
            "for",
            "privileges",
            "route",
            "reason",
        ],
        summary: "your requests, and those that wait for your approval",
    },
    Procedure {
        name: "request",
        required: &["privileges", "duration", "reason"],
        optional: &["ticket", "route"],
        columns: &["request", "state", "waits until", "approved with"],
        summary: "ask for privileges here: 'SELECT ON public.orders; …', '30 min', 'why'",
    },
    Procedure {
        name: "approve",
        required: &["request"],
        optional: &[],
        columns: &["grant", "principal", "database", "privileges", "expires"],
        summary: "approve somebody's request",
    },
    Procedure {
        name: "deny",
        required: &["request", "reason"],
        optional: &[],
        columns: &["request", "state"],
        summary: "refuse somebody's request",
    },
    Procedure {
        name: "cancel",
        required: &["request"],
        optional: &[],
        columns: &["request", "state"],
        summary: "withdraw your request",
    },
    Procedure {
        name: EXPLAIN,
        required: &["statement"],
        optional: &[],
        columns: &["statement", "class", "needs", "decision", "missing"],
        summary: "what a statement needs here, and which grant allows it; it does not run",
    },
    Procedure {
        name: ROUTE,
        required: &["statement"],
        optional: &[],
        columns: &["statement", "route", "server", "because"],
        summary: "where a statement would run now, and the rule that says so; it does not run",
    },
    Procedure {
        name: SESSION,
        required: &[],
        optional: &[],
        columns: &[
            "session",
            "database",
            "engine",
            "client",
            "application",
            "started",
            "replica",
            "kept at the primary by",
        ],
        summary: "this session, its replica, and what keeps its reads away from one",
    },
];

impl Procedure {
    /// The procedure of that name.
    ///
    /// # Errors
    /// As a server says it when there is none.
    pub fn find(name: &str) -> Result<&'static Self, CallError> {
        PROCEDURES.iter().find(|procedure| procedure.name == name).ok_or_else(|| CallError {
            sqlstate: "42883",
            message: format!("procedure daypass.{name} does not exist"),
            detail: None,
            hint: Some("CALL daypass.help() lists what there is.".to_owned()),
        })
    }

    /// The procedure that a call is for, which has the right number of arguments.
    ///
    /// # Errors
    /// As a server says it when there is none, or it takes another number.
    pub fn of(call: &Call) -> Result<&'static Self, CallError> {
        let procedure = Self::find(&call.name)?;
        procedure.check(call.arguments.len())?;
        Ok(procedure)
    }

    /// How it is called: `daypass.request(privileges, duration, reason [, ticket] [, route])`.
    pub fn signature(&self) -> String {
        let mut text = format!("daypass.{}({}", self.name, self.required.join(", "));
        for optional in self.optional {
            text.push_str(" [, ");
            text.push_str(optional);
            text.push(']');
        }
        text.push(')');
        text
    }

    /// Checks that a call has as many arguments as it takes.
    ///
    /// # Errors
    /// As a server says it when it has not.
    pub fn check(&self, arguments: usize) -> Result<(), CallError> {
        let most = self.required.len() + self.optional.len();
        if (self.required.len()..=most).contains(&arguments) {
            return Ok(());
        }
        let noun = if arguments == 1 { "argument" } else { "arguments" };
        Err(CallError {
            sqlstate: "42883",
            message: format!("procedure daypass.{} does not take {arguments} {noun}", self.name),
            detail: None,
            hint: Some(format!("CALL {}", self.signature())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_says_what_may_be_left_out() {
        let request = Procedure::find("request").unwrap();
        assert_eq!(
            request.signature(),
            "daypass.request(privileges, duration, reason [, ticket] [, route])"
        );
        assert_eq!(Procedure::find("help").unwrap().signature(), "daypass.help()");
    }

    #[test]
    fn the_number_of_arguments_is_checked() {
        let request = Procedure::find("request").unwrap();
        assert!(request.check(3).is_ok() && request.check(5).is_ok());
        for wrong in [0, 2, 6] {
            let error = request.check(wrong).unwrap_err();
            assert_eq!(error.sqlstate, "42883");
            assert!(error.hint.unwrap().contains("[, ticket]"));
        }
    }

    #[test]
    fn an_unknown_name_is_told_where_to_look() {
        let error = Procedure::find("rewind").unwrap_err();
        assert_eq!(error.sqlstate, "42883");
        assert_eq!(error.message, "procedure daypass.rewind does not exist");
        assert!(error.hint.unwrap().contains("daypass.help()"));
    }

    #[test]
    fn parameters_are_bound_by_number() {
        let call = Call {
            name: "deny".into(),
            arguments: vec![Argument::Parameter(2), Argument::Literal("no".into())],
        };
        let bound = BoundCall::bind(&call, |n| (n == 2).then(|| Some("r_1".into())));
        assert_eq!(bound.unwrap().arguments, [Some("r_1".into()), Some("no".into())]);
        assert_eq!(BoundCall::bind(&call, |_| None).unwrap_err().sqlstate, "42P02");
    }
}
