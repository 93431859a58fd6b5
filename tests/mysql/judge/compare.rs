//! How a statement ended, and who said so.

use super::wire::Failed;
use crate::tally;

/// What the servers say when they refuse for want of a privilege.
const REFUSALS: [u16; 16] = [
    1044, // ER_DBACCESS_DENIED_ERROR
    1045, // ER_ACCESS_DENIED_ERROR
    1095, // ER_KILL_DENIED_ERROR
    1142, // ER_TABLEACCESS_DENIED_ERROR
    1143, // ER_COLUMNACCESS_DENIED_ERROR
    1227, // ER_SPECIFIC_ACCESS_DENIED_ERROR
    1345, // ER_VIEW_NO_EXPLAIN
    1356, // ER_VIEW_INVALID: of a view with its caller's rights
    1370, // ER_PROCACCESS_DENIED_ERROR
    1410, // ER_CANT_CREATE_USER_WITH_GRANT
    1419, // ER_BINLOG_CREATE_ROUTINE_NEED_SUPER
    1698, // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
    1699, // ER_SET_PASSWORD_AUTH_PLUGIN
    1959, // ER_INVALID_ROLE of MariaDB: of one that is not granted
    3530, // ER_ROLE_NOT_GRANTED of MySQL
    3619, // ER_ILLEGAL_PRIVILEGE_LEVEL
];

/// What they say of data, or of a state of theirs: analysis and checks lie behind.
const PAST: [u16; 24] = [
    1022, 1048, 1062, 1086, 1099, 1100, 1169, 1172, 1205, 1213, 1216, 1217, 1242, 1290, 1365, 1369,
    1406, 1451, 1452, 1526, 1644, 1690, 1748, 3105,
];

/// How a statement ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The server's error.
    Server(Failed),
    /// The proxy's own, and nothing of it reached the server.
    Proxy(Failed),
}

impl Outcome {
    /// At the server itself.
    pub fn direct(result: &Result<(), Failed>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(failed) => Self::Server(failed.clone()),
        }
    }

    /// At the proxy, by whether its audit stream says that it refused.
    pub fn proxied(result: &Result<(), Failed>, refused: bool) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(failed) if refused || is_of_another(failed) => Self::Proxy(failed.clone()),
            Err(failed) => Self::Server(failed.clone()),
        }
    }
}

impl tally::Outcome for Outcome {
    fn is_done(&self) -> bool {
        *self == Self::Done
    }

    fn is_refusal(&self) -> bool {
        matches!(self, Self::Server(Failed { code, .. }) if REFUSALS.contains(code))
    }

    fn got_past(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Server(Failed { code, .. }) => PAST.contains(code),
            Self::Proxy(_) => false,
        }
    }

    fn is_proxys(&self) -> bool {
        matches!(self, Self::Proxy(_))
    }

    fn message(&self) -> &str {
        match self {
            Self::Done => "",
            Self::Server(failed) => &failed.message,
            // What may be done about it stands behind.
            Self::Proxy(failed) => match failed.message.split_once(". Ask for it here:") {
                Some((sentence, _)) => sentence,
                None => &failed.message,
            },
        }
    }
}

/// Whether the proxy has found no session of the caller's to KILL, and asked no server.
fn is_of_another(failed: &Failed) -> bool {
    failed.code == 1094 && failed.message.contains("among your sessions")
}

/// Whether a server has refused to prepare what it takes as a text from the same account, whoever that is: MariaDB
/// 10.11 an UPDATE of several tables, a view among them (it misses what its definer holds on the database), MySQL 9.7
/// CREATE VIEW on a view.
pub fn is_of_preparing(failed: &Failed) -> bool {
    let known = ["'owner'@'localhost'", "ANY command denied"];
    failed.code == 1142 && known.iter().any(|it| failed.message.contains(it))
}
