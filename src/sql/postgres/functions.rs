//! Which functions, operators and types a statement may use, and what their use needs.
//!
//! A call is silent only when every function that it could resolve to is on a committed list of
//! `pg_catalog` functions that touch nothing but their arguments, public catalogs and this session.

use std::collections::HashSet;
use std::sync::OnceLock;

use pg_raw_parse::nodes::{FuncCall, TypeName};
use pg_raw_parse::{ConstValue, Node, list::NodeList};

use super::settings;
use super::walk::{COPY_COST, Item, Walk, Walked, refuse_schema};
use super::walk::{undefined, unsupported, unsupported_hint};
use crate::sql::access::{Object, Operation};
use crate::sql::catalog::RelationKind;

/// `tests/analyser_functions.sql` makes both lists.
const HARMLESS: &str = include_str!("functions.txt");
const REACHING: &str = include_str!("reaching.txt");

fn set(
    cell: &'static OnceLock<HashSet<&'static str>>,
    text: &'static str,
) -> &'static HashSet<&'static str> {
    cell.get_or_init(|| text.lines().filter(|line| !line.is_empty()).collect())
}

/// Whether every `pg_catalog` function of that name is harmless.
pub(super) fn is_harmless(name: &str) -> bool {
    static NAMES: OnceLock<HashSet<&'static str>> = OnceLock::new();
    set(&NAMES, HARMLESS).contains(name)
}

/// Whether a `pg_catalog` function of that name reaches beyond the query.
pub(super) fn is_reaching(name: &str) -> bool {
    static NAMES: OnceLock<HashSet<&'static str>> = OnceLock::new();
    set(&NAMES, REACHING).contains(name)
}

/// The words of a qualified name.
pub(super) fn words(list: &NodeList) -> Vec<&str> {
    list.iter().filter_map(Node::as_str).collect()
}

/// The string that an argument spells out, also below casts that keep it: `'x'::text::regclass`.
/// Other casts may change it: `'xy'::char(1)` is `x`.
pub(super) fn literal(node: Node<'_>) -> Option<&str> {
    let mut node = node;
    while let Node::TypeCast(cast) = node {
        if !cast.type_name().is_some_and(keeps_text) {
            return None;
        }
        node = cast.arg();
    }
    let Node::A_Const(constant) = node else { return None };
    match constant.val() {
        Some(ConstValue::String(text)) => Some(text),
        _ => None,
    }
}

/// Whether a cast to the type leaves a string as it is.
fn keeps_text(name: &TypeName) -> bool {
    let names: Vec<&str> = name.names().iter().filter_map(|name| name.sval()).collect();
    let plain = name.typmods().is_empty() && name.array_bounds().is_empty();
    plain && matches!(names.as_slice(), ["text" | "regclass"] | ["pg_catalog", "text" | "regclass"])
}

/// Takes a name apart as the server's textToQualifiedNameList does: quotes, folding, dots.
fn split_name(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut word = String::new();
            let mut characters = quoted.char_indices();
            let mut after = None;
            while let Some((at, character)) = characters.next() {
                if character != '"' {
                    word.push(character);
                } else if quoted.get(at + 1..).is_some_and(|rest| rest.starts_with('"')) {
                    word.push('"');
                    characters.next();
                } else {
                    after = quoted.get(at + 1..);
                    break;
                }
            }
            part = word;
            rest = after?.trim_start();
        } else {
            let end = rest.find(|c: char| c == '.' || c.is_whitespace()).unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(end)?;
            part = word.to_ascii_lowercase();
            rest = after.trim_start();
        }
        // The server cuts longer names off; a relation has none so long, so that it is not found.
        if part.is_empty() || part.len() > 63 {
            return None;
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() => return Some(parts),
            None => return None,
        }
    }
}

impl<'t> Walk<'t> {
    /// A function call: its name, its arguments and everything around them.
    pub(super) fn call(&mut self, call: &'t FuncCall) -> Walked {
        let names = words(call.funcname());
        let arguments: Vec<Node<'t>> = call.args().iter().collect();
        match names.as_slice() {
            [name] => self.call_bare(name, &arguments)?,
            [schema, name] | [_, schema, name] => self.call_qualified(schema, name, &arguments)?,
            _ => return unsupported("A function's name has too many parts."),
        }
        for argument in arguments {
            self.part(argument)?;
        }
        for key in call.agg_order() {
            self.sort_key(key)?;
        }
        self.part(call.agg_filter())?;
        if let Some(window) = call.over() {
            self.window(window)?;
        }
        Ok(())
    }

    fn call_qualified(&mut self, schema: &'t str, name: &'t str, args: &[Node<'t>]) -> Walked {
        refuse_schema(schema)?;
        match schema {
            "pg_catalog" => self.call_builtin(name, args),
            // Helpers of its views; pgjdbc calls _pg_expandarray.
            "information_schema" if name.starts_with("_pg_") => {
                self.needs.metadata();
                Ok(())
            }
            _ => {
                let (schema, objects) = self.schema(schema)?;
                self.connects |= name.starts_with("dblink");
                match objects.functions.get_key_value(name) {
                    Some((name, overloads)) => {
                        for overload in overloads {
                            self.needs.execute(schema, name, &overload.arguments);
                        }
                        Ok(())
                    }
                    None => undefined("42883", format!("function {schema}.{name} does not exist")),
                }
            }
        }
    }

    /// An unqualified call. Overload resolution spans the whole path, so that every candidate counts.
    fn call_bare(&mut self, name: &'t str, arguments: &[Node<'t>]) -> Walked {
        self.connects |= name.starts_with("dblink");
        let users = self.user_functions(name);
        if is_harmless(name) || is_reaching(name) {
            return self.call_builtin(name, arguments);
        }
        if users {
            return Ok(());
        }
        // `column(row)` is `row.column`, and `type(value)` is `value::type`, when no function fits.
        if let [argument] = arguments {
            if let Node::ColumnRef(reference) = argument
                && self.is_field_of(reference, name)?
            {
                return Ok(());
            }
            if self.type_in_path(name).is_some() {
                return Ok(());
            }
        }
        undefined("42883", format!("function {name} does not exist"))
    }

    /// Asks for every function of that name in the schemas of the path that are not the server's.
    fn user_functions(&mut self, name: &str) -> bool {
        let mut found = false;
        for (schema, objects) in self.path() {
            if let Some((name, overloads)) = objects.functions.get_key_value(name) {
                found = true;
                for overload in overloads {
                    self.needs.execute(schema, name, &overload.arguments);
                }
            }
        }
        found
    }

    /// Whether `name(reference)` may be the column `name` of a FROM item's row.
    fn is_field_of(
        &mut self,
        reference: &'t pg_raw_parse::nodes::ColumnRef,
        name: &'t str,
    ) -> Walked<bool> {
        let names = words(reference.fields());
        let item = match names.as_slice() {
            [relation] => self.item(None, relation),
            [schema, relation] => self.item(Some(schema), relation),
            _ => return Ok(false),
        };
        match item {
            Ok(item) if self.pay(item.columns.cost().saturating_mul(COPY_COST)).is_err() => {
                Ok(false)
            }
            Ok(item) => Ok(item.columns.is_open()
                || item.columns.all().iter().any(|column| column.name == name)),
            Err(_) => Ok(false),
        }
    }

    /// Whether a function of that name can be called without a schema.
    pub(super) fn call_exists(&mut self, name: &str) -> bool {
        is_harmless(name)
            || is_reaching(name)
            || self.path().any(|(_, objects)| objects.functions.contains_key(name))
    }

    /// A call in the form `value.name`, whose argument has been read.
    pub(super) fn call_by_name(&mut self, name: &'t str) -> Walked {
        self.call_bare(name, &[])
    }

    /// `value.name`, where the columns of the value are not known: a column, or else a call.
    pub(super) fn unknown_field(&mut self, name: &'t str) -> Walked {
        if self.call_exists(name) { self.call_by_name(name) } else { Ok(()) }
    }

    /// `(value).name`, where the value may be the row of a known FROM item.
    pub(super) fn field(&mut self, row: Option<&Item<'t>>, name: &'t str) -> Walked {
        match row {
            Some(item) => self.read_field(item, name),
            None => self.unknown_field(name),
        }
    }

    fn call_builtin(&mut self, name: &'t str, arguments: &[Node<'t>]) -> Walked {
        match (name, arguments) {
            ("nextval", [sequence]) => self.sequence(Operation::Usage, name, *sequence),
            ("currval", [sequence]) | ("pg_sequence_last_value", [sequence]) => {
                self.sequence(Operation::Select, name, *sequence)
            }
            ("setval", [sequence, ..]) => self.sequence(Operation::Update, name, *sequence),
            ("current_setting", [setting] | [setting, _]) => match literal(*setting) {
                Some(setting) if settings::may_show(setting) => {
                    self.needs.metadata();
                    Ok(())
                }
                Some(setting) => unsupported(format!("The setting {setting} may not be read.")),
                None => {
                    unsupported("current_setting() takes the setting's name as a literal only.")
                }
            },
            ("set_config", [setting, value, _]) => self.set_config(*setting, *value),
            ("set_config" | "nextval" | "currval" | "setval" | "current_setting", _) => {
                unsupported(format!("{name}() cannot be called like this."))
            }
            ("lastval", _) => unsupported_hint(
                "lastval() does not say which sequence it reads.",
                "Use INSERT … RETURNING, or currval('schema.sequence').",
            ),
            _ if is_harmless(name) => {
                self.needs.metadata();
                Ok(())
            }
            // Files, programs, other sessions, large objects, SQL in a string …: what the service
            // account may do, not what a relation's privilege covers.
            _ if is_reaching(name) => {
                self.needs.admin(Object::Database);
                Ok(())
            }
            _ => undefined("42883", format!("function pg_catalog.{name} does not exist")),
        }
    }

    /// `set_config` is SET when both its setting and, where that matters, its value are literals.
    fn set_config(&mut self, setting: Node<'t>, value: Node<'t>) -> Walked {
        let Some(name) = literal(setting) else {
            return unsupported_hint(
                "set_config() takes the setting's name as a literal only.",
                "Use SET.",
            );
        };
        let name = name.to_ascii_lowercase();
        settings::check_set(&name, Some(literal(value).as_slice()))?;
        self.sets_path |= name == "search_path";
        self.needs.metadata();
        Ok(())
    }

    /// A sequence whose name is an argument.
    fn sequence(&mut self, operation: Operation, function: &str, argument: Node<'t>) -> Walked {
        let Some(text) = literal(argument) else {
            return unsupported_hint(
                format!("{function}() takes the sequence's name as a literal only."),
                format!("Write {function}('schema.sequence')."),
            );
        };
        let parts = split_name(text).unwrap_or_default();
        let target = match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [name] => self.find(None, name)?,
            [schema, name] | [_, schema, name] => self.find(Some(schema), name)?,
            _ => None,
        };
        let Some(target) = target else {
            return undefined("42P01", format!("relation \"{text}\" does not exist"));
        };
        if target.relation.kind != RelationKind::Sequence {
            return undefined("42809", format!("\"{}\" is not a sequence", target.name));
        }
        self.needs.whole(operation, target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{is_harmless, is_reaching, split_name};

    #[test]
    fn the_dangerous_are_not_harmless() {
        for name in [
            "pg_read_file",
            "pg_read_binary_file",
            "pg_ls_dir",
            "pg_stat_file",
            "pg_ls_waldir",
            "lo_import",
            "lo_export",
            "lo_create",
            "lo_unlink",
            "lo_get",
            "lo_put",
            "loread",
            "lowrite",
            "lo_open",
            "query_to_xml",
            "cursor_to_xml",
            "table_to_xml",
            "schema_to_xml",
            "database_to_xml",
            "query_to_xml_and_xmlschema",
            "table_to_xmlschema",
            "ts_stat",
            "ts_rewrite",
            "set_config",
            "current_setting",
            "nextval",
            "currval",
            "setval",
            "lastval",
            "pg_terminate_backend",
            "pg_cancel_backend",
            "pg_reload_conf",
            "pg_rotate_logfile",
            "pg_promote",
            "pg_switch_wal",
            "pg_create_restore_point",
            "pg_advisory_lock",
            "pg_try_advisory_xact_lock_shared",
            "pg_stat_get_activity",
            "pg_stat_get_backend_activity",
            "pg_stat_get_wal_senders",
            "pg_stat_reset",
            "pg_stat_get_wal_receiver",
            "pg_logical_emit_message",
            "pg_lock_status",
            "pg_logical_slot_get_changes",
            "pg_create_logical_replication_slot",
            "pg_export_snapshot",
            "pg_hba_file_rules",
            "pg_show_all_file_settings",
            "pg_config",
            "pg_control_system",
            "pg_current_logfile",
            "binary_upgrade_set_next_pg_authid_oid",
            "pg_prepared_xact",
            "pg_replication_origin_create",
            "pg_import_system_collations",
            "pg_restore_relation_stats",
            "brin_summarize_range",
            "pg_get_shmem_allocations",
            "pg_show_all_settings",
            "pg_log_standby_snapshot",
            "pg_file_write",
            "pg_backup_start",
            "pg_nextoid",
            "currtid2",
            "pg_get_sequence_data",
        ] {
            assert!(!is_harmless(name), "{name}");
            assert!(is_reaching(name), "{name}");
        }
        for name in [
            "lower",
            "now",
            "version",
            "count",
            "pg_sleep",
            "gen_random_uuid",
            "pg_get_viewdef",
            "has_table_privilege",
            "pg_relation_size",
            "generate_series",
            "jsonb_agg",
            "array_agg",
            "rank",
            "percentile_cont",
            "pg_table_is_visible",
            "format_type",
            "like_escape",
            "timezone",
        ] {
            assert!(is_harmless(name), "{name}");
            assert!(!is_reaching(name), "{name}");
        }
    }

    #[test]
    fn names_in_strings_are_split() {
        let split = |text: &str| split_name(text).map(|parts| parts.join("|"));
        assert_eq!(split("Orders_Id"), Some("orders_id".into()));
        assert_eq!(split(" public . \"O\"\"x.y\" "), Some("public|O\"x.y".into()));
        assert_eq!(split("a b"), None);
        assert_eq!(split("\"a"), None);
        assert_eq!(split("a."), None);
        assert_eq!(split(""), None);
    }
}
