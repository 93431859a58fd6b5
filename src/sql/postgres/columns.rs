//! References to columns and whole rows, resolved as the server's parse_relation.c does.

use std::rc::Rc;

use pg_raw_parse::Node;
use pg_raw_parse::nodes::ColumnRef;

use super::needs::Target;
use super::walk::{Item, ItemColumns, JoinColumn, OUTPUT_MAX, Output, Walk, Walked};
use super::walk::{undefined, unsupported};
use crate::sql::access::Operation;
use crate::sql::statement::NotUnderstood;

/// What a column reference turned out to be.
pub(super) enum Reference<'t> {
    /// A column, or something else without parts that matter here.
    Column,
    /// The whole row of this item.
    Row(Item<'t>),
}

/// What a search for a column in one item found.
enum Found<'t> {
    /// A column of a relation.
    Reads(Target<'t>, &'t str),
    /// A column of something else.
    Free,
    /// More than one column of that name.
    Twice,
    /// No such column, but the item has columns that are not known.
    Perhaps,
    /// No such column.
    No,
}

impl<'t> ItemColumns<'t> {
    /// How many names a search compares.
    pub(super) fn cost(&self) -> usize {
        1 + match self {
            Self::Relation { target, renamed } => target.relation.columns.len() + renamed.len(),
            Self::Derived { names, .. } => names.len(),
            Self::Join { columns, .. } => columns.len(),
        }
    }

    /// Whether there may be columns whose names are not known.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Relation { .. } => false,
            Self::Derived { open, .. } | Self::Join { open, .. } => *open,
        }
    }

    fn find(&self, name: &str) -> Found<'t> {
        let open = match self {
            Self::Relation { target, renamed } => {
                let position = renamed.iter().position(|renamed| *renamed == name);
                if let Some(column) = position.and_then(|at| target.relation.columns.get(at)) {
                    return Found::Reads(*target, column);
                }
                let rest = target.relation.columns.iter().skip(renamed.len());
                if let Some(column) = rest.map(|column| &**column).find(|column| *column == name) {
                    return Found::Reads(*target, column);
                }
                // A system column; a user column that was renamed away is not found by its old name.
                let hidden = target.relation.columns.iter().any(|column| **column == *name);
                if let Some(column) = target.column(name).filter(|_| !hidden) {
                    return Found::Reads(*target, column);
                }
                false
            }
            Self::Derived { names, open } => {
                match names.iter().filter(|known| **known == name).count() {
                    0 => *open,
                    1 => return Found::Free,
                    _ => return Found::Twice,
                }
            }
            Self::Join { columns, open } => {
                let mut matching = columns.iter().filter(|column| column.name == name);
                match (matching.next().map(|column| column.reads), matching.next()) {
                    (Some(_), Some(_)) => return Found::Twice,
                    (Some(Some((target, column))), None) => return Found::Reads(target, column),
                    (Some(None), None) => return Found::Free,
                    (None, _) => *open,
                }
            }
        };
        if open { Found::Perhaps } else { Found::No }
    }

    /// Every column, as a join or `*` takes them over.
    pub(super) fn all(&self) -> Vec<JoinColumn<'t>> {
        match self {
            Self::Relation { target, renamed } => {
                let columns = target.relation.columns.iter().map(|column| &**column);
                columns
                    .enumerate()
                    .map(|(at, column)| JoinColumn {
                        name: renamed.get(at).copied().unwrap_or(column),
                        reads: Some((*target, column)),
                    })
                    .collect()
            }
            Self::Derived { names, .. } => {
                names.iter().map(|name| JoinColumn { name, reads: None }).collect()
            }
            Self::Join { columns, .. } => columns.to_vec(),
        }
    }
}

impl<'t> Walk<'t> {
    /// Reads a column reference that is not a star of a target list.
    pub(super) fn column_ref(&mut self, reference: &'t ColumnRef) -> Walked<Reference<'t>> {
        let mut names: Vec<&'t str> = Vec::new();
        let mut star = false;
        for field in reference.fields() {
            match field {
                Node::String(name) => names.push(name.sval().unwrap_or_default()),
                Node::A_Star(_) => star = true,
                other => return self.part(other).map(|()| Reference::Column),
            }
        }
        match (names.as_slice(), star) {
            ([], _) => unsupported("A star stands where the server takes none."),
            ([column], false) => self.bare(column),
            ([relation], true) => {
                let item = self.item(None, relation)?;
                self.read_row(&item)?;
                Ok(Reference::Row(item))
            }
            ([relation, column], false) => self.qualified(None, relation, column),
            ([schema, relation], true) | ([_, schema, relation], true) => {
                let item = self.item(Some(schema), relation)?;
                self.read_row(&item)?;
                Ok(Reference::Row(item))
            }
            // A database in front must be this one; otherwise the server refuses.
            ([schema, relation, column], false) | ([_, schema, relation, column], false) => {
                self.qualified(Some(schema), relation, column)
            }
            _ => undefined(
                "42601",
                format!("improper qualified name (too many dotted names): {}", names.join(".")),
            ),
        }
    }

    /// `column`, or the whole row of a FROM item of that name.
    fn bare(&mut self, name: &'t str) -> Walked<Reference<'t>> {
        let known = self.find_column(name, false)?;
        if known == Some(true) {
            return Ok(Reference::Column);
        }
        if let Some(item) = self.find_item(None, name)? {
            self.read_row(&item)?;
            return Ok(Reference::Row(item));
        }
        if known == Some(false) {
            return Ok(Reference::Column);
        }
        undefined("42703", format!("column \"{name}\" does not exist"))
    }

    /// Looks for a column from the innermost level outwards and reads it. `Some(true)` when it was
    /// found, `Some(false)` when an item with unknown columns may have it, `None` when nothing has.
    pub(super) fn find_column(&mut self, name: &'t str, local: bool) -> Walked<Option<bool>> {
        let mut perhaps = None;
        for at in (0..self.levels.len()).rev() {
            let Some(level) = self.levels.get(at) else { break };
            if !level.hidden {
                let items = level.items.iter().filter(|item| item.by_column);
                let cost = items.clone().map(|item| item.columns.cost()).sum::<usize>();
                let (mut matches, mut reads) = (0_usize, None);
                for item in items {
                    match item.columns.find(name) {
                        Found::Reads(target, column) => {
                            matches += 1;
                            reads = Some((target, column));
                        }
                        Found::Free => matches += 1,
                        Found::Twice => matches += 2,
                        Found::Perhaps => perhaps = Some(false),
                        Found::No => {}
                    }
                }
                self.pay(cost + 1)?;
                if matches > 1 {
                    return undefined("42702", format!("column reference \"{name}\" is ambiguous"));
                }
                if let Some((target, column)) = reads {
                    self.needs.column(Operation::Select, target, column);
                }
                if matches == 1 {
                    return Ok(Some(true));
                }
            }
            if local {
                break;
            }
        }
        Ok(perhaps)
    }

    /// The FROM item of that name, from the innermost level outwards.
    fn find_item(&mut self, schema: Option<&str>, name: &str) -> Walked<Option<Item<'t>>> {
        let wanted = match schema {
            Some(schema) if self.has_schema(schema)? => self.find(Some(schema), name)?,
            _ => None,
        };
        let mut cost = 0;
        let mut found = None;
        for level in self.levels.iter().rev().filter(|level| !level.hidden) {
            cost += level.items.len();
            let mut matching = level.items.iter().filter(|item| {
                item.by_name
                    && item.name == name
                    && match (schema, &item.columns) {
                        (None, _) => true,
                        (Some(_), ItemColumns::Relation { target, .. }) => {
                            item.qualified
                                && wanted.is_some_and(|wanted| {
                                    wanted.schema == target.schema && wanted.name == target.name
                                })
                        }
                        (Some(_), _) => false,
                    }
            });
            if let Some(item) = matching.next() {
                if matching.next().is_some() {
                    return undefined("42P09", format!("table reference \"{name}\" is ambiguous"));
                }
                found = Some(item.clone());
                break;
            }
        }
        self.pay(cost)?;
        Ok(found)
    }

    /// The FROM item of that name, or the server's error.
    pub(super) fn item(&mut self, schema: Option<&str>, name: &str) -> Walked<Item<'t>> {
        match self.find_item(schema, name)? {
            Some(item) => Ok(item),
            None => undefined("42P01", format!("missing FROM-clause entry for table \"{name}\"")),
        }
    }

    /// `relation.column`, which may also be a function call on the row.
    fn qualified(
        &mut self,
        schema: Option<&str>,
        relation: &'t str,
        column: &'t str,
    ) -> Walked<Reference<'t>> {
        let item = self.item(schema, relation)?;
        self.read_field(&item, column)?;
        Ok(Reference::Column)
    }

    /// Reads a column of an item, or calls the function of that name on its row.
    pub(super) fn read_field(&mut self, item: &Item<'t>, column: &'t str) -> Walked {
        self.pay(item.columns.cost() + 1)?;
        match item.columns.find(column) {
            Found::Reads(target, column) => {
                self.needs.column(Operation::Select, target, column);
                Ok(())
            }
            Found::Free => Ok(()),
            Found::Twice => {
                undefined("42702", format!("column reference \"{column}\" is ambiguous"))
            }
            Found::Perhaps => self.unknown_field(column),
            Found::No => {
                if self.call_exists(column) {
                    self.read_row(item)?;
                    return self.call_by_name(column);
                }
                undefined("42703", format!("column {}.{column} does not exist", item.name))
            }
        }
    }

    /// Reads every column of an item.
    pub(super) fn read_row(&mut self, item: &Item<'t>) -> Walked {
        self.pay(item.columns.cost())?;
        match &item.columns {
            ItemColumns::Relation { target, .. } => {
                self.needs.all_columns(Operation::Select, *target);
            }
            ItemColumns::Derived { .. } => {}
            ItemColumns::Join { columns, .. } => {
                for (target, column) in columns.iter().filter_map(|column| column.reads) {
                    self.needs.column(Operation::Select, target, column);
                }
            }
        }
        Ok(())
    }

    /// `*` or `relation.*` of a target list: reads the columns and adds their names.
    pub(super) fn star(&mut self, reference: &'t ColumnRef, output: &mut Output<'t>) -> Walked {
        let mut names = Vec::new();
        for field in reference.fields() {
            match field {
                Node::String(name) => names.push(name.sval().unwrap_or_default()),
                Node::A_Star(_) => {}
                other => return self.part(other),
            }
        }
        let items = match names.as_slice() {
            [] => {
                let cost = self.level()?.items.len();
                self.pay(cost)?;
                let level = self.level()?;
                level.items.iter().filter(|item| item.by_column).cloned().collect()
            }
            [relation] => vec![self.item(None, relation)?],
            [schema, relation] | [_, schema, relation] => vec![self.item(Some(schema), relation)?],
            _ => {
                return undefined(
                    "42601",
                    format!("improper qualified name (too many dotted names): {}", names.join(".")),
                );
            }
        };
        for item in &items {
            self.read_row(item)?;
            output.open |= item.columns.is_open();
            self.pay(item.columns.cost())?;
            self.extend(output, item.columns.all().iter().map(|column| column.name))?;
        }
        Ok(())
    }

    /// Adds names to an output.
    pub(super) fn extend(
        &mut self,
        output: &mut Output<'t>,
        names: impl Iterator<Item = &'t str>,
    ) -> Walked {
        output.names.extend(names.take(OUTPUT_MAX + 1));
        if output.names.len() > OUTPUT_MAX {
            return Err(NotUnderstood::TooComplex {
                what: format!("A query returns more than {OUTPUT_MAX} columns."),
            });
        }
        Ok(())
    }
}

impl<'t> Output<'t> {
    /// The columns, the first ones renamed.
    pub(super) fn renamed(&self, aliases: &[&'t str]) -> Rc<[&'t str]> {
        let rest = self.names.iter().skip(aliases.len());
        aliases.iter().chain(rest).copied().collect()
    }
}
