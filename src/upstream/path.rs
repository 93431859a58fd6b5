//! The effective search path of a session's own connection, asked for by a statement of ours.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_schemas_in_order() {
        let rows = ["pg_catalog", "a, \"b\"", "public"].map(|name| vec![Some(name.to_owned())]);
        assert_eq!(read_path(&rows), ["pg_catalog", "a, \"b\"", "public"].map(Box::from));
        assert!(read_path(&[vec![None], vec![]]).is_empty());
    }
}
