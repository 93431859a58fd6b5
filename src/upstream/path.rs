//! The effective search path: of a session's own connection, asked for by a statement of ours, and of the
//! sessions that a login would have, asked over the service account's.

use std::time::Duration;

use super::APPLICATION_NAME;
use super::client;
use super::connect::{Connection, connect, within};
use super::error::UpstreamError;
use super::login::Startup;
use super::roles::action::literal;
use super::target::Target;
use crate::wire::postgres::frame::Violation;

/// One row a schema, in the order in which the server searches: those that exist and may be used, with
/// `pg_temp_N` once there is something temporary, and `pg_catalog` where it is implied. Means the same
/// under any search path.
pub const EFFECTIVE_PATH_QUERY: &str = "SELECT p.schema FROM ROWS FROM \
    (pg_catalog.unnest(pg_catalog.current_schemas(true))) WITH ORDINALITY AS p (schema, place) \
    ORDER BY p.place";

/// The schemas in the rows of [`EFFECTIVE_PATH_QUERY`].
pub fn read_path(rows: &[Vec<Option<String>>]) -> Vec<Box<str>> {
    rows.iter().filter_map(|row| row.first()?.as_deref()).map(Into::into).collect()
}

const DEADLINE: Duration = Duration::from_secs(20);

/// What the server has set for the account at its login (by role and database, by role, by database, in its
/// file). Means the same under any search path.
const AT_LOGIN: &str = "SELECT current_user, pg_catalog.current_setting('search_path')";

/// What `$user` and USAGE are asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Searcher<'a> {
    /// The service account itself.
    Service,
    /// A role of the second lock's, whose sessions have the service account's settings. One that is not at the
    /// server may do what everybody may.
    Role(&'a str),
}

/// A value of `search_path` taken apart, as the server does; `None` when it is not a list of names.
pub fn split_path(value: &str) -> Option<Vec<Box<str>>> {
    const SPACE: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];
    let mut rest = value.trim_start_matches(SPACE);
    let mut names = Vec::new();
    if rest.is_empty() {
        return Some(names);
    }
    if value.contains('\0') {
        return None;
    }
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (name, behind) = unquote(quoted)?;
            names.push(name.into());
            rest = behind;
        } else {
            let end = rest.find(|c| c == ',' || SPACE.contains(&c)).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            if name.is_empty() {
                return None;
            }
            names.push(name.to_ascii_lowercase().into());
            rest = behind;
        }
        rest = rest.trim_start_matches(SPACE);
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?.trim_start_matches(SPACE);
    }
}

/// What stands before the closing quote, and what behind it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let (mut name, mut rest) = (String::new(), text);
    loop {
        let (part, behind) = rest.split_once('"')?;
        name.push_str(part);
        match behind.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, behind)),
        }
    }
}

/// The schemas that a session would search right after its login: those of `wished`, else of what the server
/// has set, that exist and that the searcher may use.
///
/// # Errors
/// When the server cannot be asked.
pub async fn path_at_login(
    target: &Target,
    searcher: Searcher<'_>,
    wished: Option<Vec<Box<str>>>,
) -> Result<Vec<Box<str>>, UpstreamError> {
    const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET statement_timeout = '15s'";
    let ask = async {
        // A connection of its own: what is set for a role reaches those that log in from then on.
        let startup = Startup { application_name: APPLICATION_NAME.into(), ..Startup::default() };
        let mut connection = connect(target, &startup).await?;
        let rows = client::query(&mut connection, AT_LOGIN).await?;
        let [Some(account), Some(set)] = rows.first().map_or(&[][..], Vec::as_slice) else {
            return Err(Violation::Malformed('D').into());
        };
        let names = match wished {
            Some(names) => names,
            None => split_path(set).ok_or(Violation::Malformed('D'))?,
        };
        client::query(&mut connection, SESSION).await?;
        let login = match searcher {
            Searcher::Service => account,
            Searcher::Role(role) => role,
        };
        usable(&mut connection, login, &names).await
    };
    within(DEADLINE, "asking for the search path", ask).await
}

/// Of those schemas, the ones that the role searches, in order. Nothing temporary exists after a login.
pub(super) async fn usable(
    connection: &mut Connection,
    login: &str,
    names: &[Box<str>],
) -> Result<Vec<Box<str>>, UpstreamError> {
    let names: Vec<_> =
        names.iter().map(|name| literal(if &**name == "$user" { login } else { name })).collect();
    let sql = format!(
        "SELECT n.nspname FROM unnest(ARRAY[{}]::name[]) WITH ORDINALITY AS p (schema, place) \
         JOIN pg_namespace n ON n.nspname = p.schema WHERE has_schema_privilege(coalesce( \
             (SELECT rolname FROM pg_roles WHERE rolname = {}), 'public'), n.oid, 'USAGE') \
         GROUP BY 1 ORDER BY min(p.place)",
        names.join(", "),
        literal(login)
    );
    let mut path = read_path(&client::query(connection, &sql).await?);
    if !path.iter().any(|schema| &**schema == "pg_catalog") {
        path.insert(0, "pg_catalog".into());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_schemas_in_order() {
        let rows = ["pg_catalog", "a, \"b\"", "public"].map(|name| vec![Some(name.to_owned())]);
        assert_eq!(read_path(&rows), ["pg_catalog", "a, \"b\"", "public"].map(Box::from));
        assert!(read_path(&[vec![None], vec![]]).is_empty());
    }

    #[test]
    fn a_setting_is_taken_apart_as_the_server_does() {
        let split = |value: &str| split_path(value).map(|names| names.join("|"));
        assert_eq!(split(r#""$user", public"#).unwrap(), "$user|public");
        assert_eq!(split(" $user ,Public\t,\"Sa\"\"les, x\" ").unwrap(), "$user|public|Sa\"les, x");
        assert_eq!(split(r#""""#).unwrap(), "");
        assert_eq!(split_path(r#""""#).unwrap().len(), 1);
        assert!(split_path(" ").unwrap().is_empty());
        assert_eq!(split(r#"Ä,a"b"#).unwrap(), r#"Ä|a"b"#);
        for wrong in ["a,", ",a", "a,,b", "a b", "\"a", "\"a\"b", "a\0"] {
            assert_eq!(split(wrong), None, "{wrong:?}");
        }
    }
}
