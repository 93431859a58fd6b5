//! The effective search path, asked of the server on the session's own connection.

/// Every schema that is searched, implicit ones too, in order, a row each. Qualified throughout: the
/// path that it asks for must not change what it means.
pub(super) const QUERY: &str = "SELECT s FROM pg_catalog.unnest(pg_catalog.current_schemas(true)) \
                                WITH ORDINALITY AS path(s, n) ORDER BY n";

/// The path of the rows of [`QUERY`]; empty when they are not such rows.
pub(super) fn read(rows: &[Vec<Option<String>>]) -> Box<[Box<str>]> {
    let schema = |row: &Vec<Option<String>>| match row.as_slice() {
        [Some(schema)] => Some(Box::from(schema.as_str())),
        _ => None,
    };
    rows.iter().map(schema).collect::<Option<_>>().unwrap_or_default()
}
