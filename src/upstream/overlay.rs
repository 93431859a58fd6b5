//! Names as one session's own connection sees them: its temporary objects, and definitions that it has not
//! committed. Read by one simple query of ours between two of the client's, and without I/O: whoever owns the
//! connection sends the text and hands over the rows.

use std::sync::Arc;

use super::catalog::{self, OWN_PARTS, PARTS};
use super::client::{Bounds, Row};
use super::error::UpstreamError;
use super::loading::{Loading, Take};
use crate::sql::catalog::{Catalog, Mark, Schema};

/// How much of the names is the session's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Its temporary objects; all else is as everyone sees it.
    Temporary,
    /// Any name: it has changed definitions.
    Everything,
}

/// Under a path of `pg_catalog` alone nothing in our statements can mean something of a user's making,
/// and no time limit of the client's ends them. All of that is taken back behind them.
const SETTINGS: [&str; 5] = [
    "SET LOCAL search_path = pg_catalog, pg_temp",
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL quote_all_identifiers = off",
    // As for the service connection.
    "SET LOCAL enable_nestloop = off",
    "SET LOCAL jit = off",
];

/// Around our statements in the client's transaction, and between two of its transactions.
const INSIDE: ([&str; 1], [&str; 2]) = (
    ["SAVEPOINT daypass_names"],
    ["ROLLBACK TO SAVEPOINT daypass_names", "RELEASE SAVEPOINT daypass_names"],
);
const OUTSIDE: ([&str; 1], [&str; 1]) = (["BEGIN READ ONLY"], ["COMMIT"]);

/// A statement sees the catalogs as the server does when it looks a name up. At the other levels it sees
/// them as they were when the transaction began.
const ISOLATION: &str = "SELECT current_setting('transaction_isolation')";

/// A read under way.
pub struct Reading {
    extent: Extent,
    /// Where everything is read, only what has changed since this is.
    mark: Option<Arc<Mark>>,
    loading: Loading,
    stale: bool,
    /// Statements of ours that are done.
    done: usize,
    rows: u64,
    bytes: u64,
}

impl Reading {
    /// Begins one, knowing what everyone sees.
    pub fn new(extent: Extent, shared: &Catalog) -> Self {
        let (loading, mark) = match extent {
            Extent::Temporary => (Loading::default(), None),
            Extent::Everything => (Loading::since(Some(shared)), shared.mark.clone()),
        };
        Self { extent, mark, loading, stale: false, done: 0, rows: 0, bytes: 0 }
    }

    /// The parts, in order.
    fn parts(extent: Extent) -> impl Iterator<Item = &'static (&'static str, Take)> {
        let everything = if extent == Extent::Everything { PARTS } else { &[] };
        everything.iter().chain(OWN_PARTS)
    }

    /// What to send, as one simple query.
    pub fn query(&self, in_transaction: bool) -> String {
        let (before, after): (&[&str], &[&str]) =
            if in_transaction { (&INSIDE.0, &INSIDE.1) } else { (&OUTSIDE.0, &OUTSIDE.1) };
        let owned =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut statements = owned(before);
        statements.extend(owned(&SETTINGS));
        statements.push(ISOLATION.to_owned());
        let mark = self.mark.as_deref();
        statements.extend(Self::parts(self.extent).map(|(sql, _)| catalog::text(sql, mark)));
        statements.extend(owned(after));
        statements.join("; ")
    }

    /// A statement of ours has ended.
    pub const fn on_complete(&mut self) {
        self.done += 1;
    }

    /// Takes the body of a DataRow.
    ///
    /// # Errors
    /// When it cannot be understood, or the whole is larger than [`Bounds::default`].
    pub fn on_row(&mut self, body: &[u8]) -> Result<(), UpstreamError> {
        let max = Bounds::default();
        self.rows += 1;
        self.bytes += body.len() as u64;
        if self.rows > max.rows_max || self.bytes > max.bytes_max {
            return Err(UpstreamError::TooLarge { max: max.bytes_max, unit: "bytes" });
        }
        let mut row = Row::read(body)?;
        // Every form has one statement in front of the settings.
        let Some(at) = self.done.checked_sub(1 + SETTINGS.len()) else { return Ok(()) };
        let Some(part) = at.checked_sub(1) else {
            self.stale = !matches!(row.text()?, "read committed" | "read uncommitted");
            return Ok(());
        };
        match Self::parts(self.extent).nth(part) {
            Some((_, take)) => take(&mut self.loading, row),
            None => Err(UpstreamError::Catalog("a row too many".into())),
        }
    }

    /// The names of this session alone; schemas that are as `shared` has them are shared with it. The
    /// catalog's version is that of `shared`, so never compare it with one of those. False when
    /// changes of definitions could not be seen.
    pub fn finish(self, shared: &Catalog) -> (Catalog, bool) {
        let Self { extent, loading, stale, .. } = self;
        let own = catalog::finish(loading, shared.server_version);
        if extent == Extent::Temporary || stale {
            let mut catalog = shared.clone();
            let temporary =
                own.schemas.into_iter().filter(|(name, _)| name.starts_with("pg_temp_"));
            catalog.schemas.extend(temporary);
            catalog.types.extend(own.types);
            catalog.sequences.extend(own.sequences);
            return (catalog, extent == Extent::Temporary);
        }
        let mut catalog = own;
        catalog.version = shared.version;
        catalog.runs_as = shared.runs_as;
        for (name, schema) in &mut catalog.schemas {
            if let Some(same) = shared.schemas.get(name).filter(|same| **same == *schema) {
                *schema = Arc::<Schema>::clone(same);
            }
        }
        (catalog, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::postgres::frame::HEADER_BYTES;
    use crate::wire::postgres::reply;

    fn feed(reading: &mut Reading, statements: &[&[&[&str]]]) {
        for rows in statements {
            for row in *rows {
                let values: Vec<_> = row.iter().map(|value| Some((*value).to_owned())).collect();
                let mut out = Vec::new();
                reply::data_row(&mut out, &values);
                reading.on_row(&out[HEADER_BYTES..]).unwrap();
            }
            reading.on_complete();
        }
    }

    #[test]
    fn temporary_objects_stand_beside_what_everyone_sees() {
        let mut shared = Catalog { version: 7, server_version: 150_018, ..Catalog::default() };
        shared.schemas.insert("public".into(), Arc::default());
        let mut reading = Reading::new(Extent::Temporary, &shared);
        assert!(!reading.query(true).contains("BEGIN") && reading.query(false).contains("COMMIT"));
        let own: [&[&[&str]]; 12] = [
            &[],
            &[],
            &[],
            &[],
            &[],
            &[],
            &[&["repeatable read"]],
            &[&["9", "pg_temp_3", "f"]],
            &[&["10", "9", "t", "r", "0"]],
            &[],
            &[&["10", "a", "23"], &["10", "b", "25"]],
            &[],
        ];
        feed(&mut reading, &own);
        let (catalog, told) = reading.finish(&shared);
        assert!(told);
        assert_eq!(catalog.relation("pg_temp_3", "t").unwrap().columns, ["a".into(), "b".into()]);
        assert!(Arc::ptr_eq(&catalog.schemas["public"], &shared.schemas["public"]));
        assert!(!shared.schemas.contains_key("pg_temp_3"));
    }

    #[test]
    fn what_a_transaction_cannot_see_is_said() {
        let shared = Catalog::default();
        for (level, told) in [("serializable", false), ("read committed", true)] {
            let mut reading = Reading::new(Extent::Everything, &shared);
            feed(&mut reading, &[&[], &[], &[], &[], &[], &[], &[&[level]], &[&["1", "new", "f"]]]);
            let (catalog, complete) = reading.finish(&shared);
            assert_eq!((complete, catalog.schemas.contains_key("new")), (told, told), "{level}");
        }
    }
}
