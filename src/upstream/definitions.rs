//! Loading what definitions do with the rights of whoever uses them: the functions that views, checks,
//! defaults and index expressions call, the sequences that defaults advance, security-invoker views and
//! policies.
//!
//! The server stores expressions as trees of its own, in which every function stands with its number.
//! Only functions that PUBLIC may not execute matter, and few definitions call any, so that next to
//! nothing is sent.

use std::collections::{HashMap, HashSet};

use super::client::Row;
use super::error::UpstreamError;
use super::loading::{Loading, Oid, oid};
use crate::sql::catalog::{Definition, Policy, Routine, SequenceDefault};

/// Relations that another session has locked against reading, or waits to.
macro_rules! locked {
    () => {
        "SELECT relation FROM pg_locks WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' \
            AND pid IS DISTINCT FROM pg_backend_pid() \
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    };
}

/// `(what, object, function)`: what is `v` (a view's query or a table's rule), `w` (runs on writes),
/// `p` (row security) or `t` (a domain's check). Most defaults are constants, which call nothing, and few
/// of the others match: only those are taken apart.
///
/// Of rows that are known from before, only those are searched that called one then (the last column). CASE
/// keeps the server from searching first.
pub(super) const CLOSED: &str = "WITH closed AS MATERIALIZED (SELECT oid FROM pg_proc \
        WHERE proacl IS NOT NULL AND NOT EXISTS (SELECT FROM aclexplode(proacl) \
            WHERE grantee = 0 AND privilege_type = 'EXECUTE')), \
    pattern AS MATERIALIZED (SELECT ':(?:funcid|opfuncid|aggfnoid|winfnoid) (' \
        || string_agg(oid::text, '|') || ') ' AS p FROM closed), \
    trees (what, object, row, wanted, tree) AS ( \
        SELECT 'v', ev_class, oid, age(xmin) <= $since OR oid = ANY ($calling) OR $unsure, \
            concat(ev_action, ev_qual) FROM pg_rewrite \
        UNION ALL SELECT 'w', adrelid, oid, age(xmin) <= $since OR oid = ANY ($calling) OR $unsure, \
            adbin::text FROM pg_attrdef WHERE adbin::text NOT LIKE '{CONST %' \
        UNION ALL SELECT 'w', conrelid, oid, age(xmin) <= $since OR oid = ANY ($calling) OR $unsure, \
            conbin::text FROM pg_constraint WHERE conbin IS NOT NULL AND conrelid <> 0 \
        UNION ALL SELECT 'w', indrelid, indexrelid, \
            age(xmin) <= $since OR indexrelid = ANY ($calling) OR $unsure, \
            concat(indexprs, indpred) FROM pg_index \
            WHERE indexprs IS NOT NULL OR indpred IS NOT NULL \
        UNION ALL SELECT 'w', partrelid, partrelid, true, partexprs::text \
            FROM pg_partitioned_table WHERE partexprs IS NOT NULL \
        UNION ALL SELECT 'w', tgrelid, oid, age(xmin) <= $since OR oid = ANY ($calling) OR $unsure, \
            tgqual::text FROM pg_trigger WHERE tgqual IS NOT NULL \
        UNION ALL SELECT 'p', polrelid, oid, true, concat(polqual, polwithcheck) FROM pg_policy \
        UNION ALL SELECT 't', contypid, oid, age(xmin) <= $since OR oid = ANY ($calling) OR $unsure, \
            conbin::text FROM pg_constraint WHERE conbin IS NOT NULL AND contypid <> 0), \
    matching AS MATERIALIZED (SELECT * FROM trees \
        WHERE CASE WHEN wanted THEN tree ~ (SELECT p FROM pattern) END) \
    SELECT DISTINCT what, object, found[1], row \
    FROM pattern, matching, regexp_matches(tree, p, 'g') found";

/// A sequence is there when the default names it by a constant, as `serial` does.
pub(super) const DEFAULTS: &str = "SELECT d.adrelid, a.attname, s.oid FROM pg_attrdef d \
    JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated = '' \
    LEFT JOIN (pg_depend n JOIN pg_class s ON n.refclassid = 'pg_class'::regclass \
        AND s.oid = n.refobjid AND s.relkind = 'S') \
        ON n.classid = 'pg_attrdef'::regclass AND n.objid = d.oid \
    WHERE d.adbin::text NOT LIKE '{CONST %' AND d.adbin::text ~ (SELECT ':funcid (' || string_agg(oid::text, '|') || ') ' FROM pg_proc \
        WHERE pronamespace = 'pg_catalog'::regnamespace \
        AND proname IN ('nextval', 'currval', 'setval', 'lastval'))";

/// Which relations a view reads itself.
pub(super) const BELOW: &str = "SELECT DISTINCT r.ev_class, d.refobjid FROM pg_rewrite r \
    JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v' \
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid \
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class \
    JOIN pg_class c ON c.oid = d.refobjid AND c.relkind IN ('r', 'p', 'f', 'v', 'S') \
    WHERE r.ev_class >= 16384 AND d.refobjid >= 16384";

/// Writing a definition out takes a lock on what it is of and on what it names, and so would wait for a migration
/// that has changed one of those: for as long as that is open. Such a definition is not written out (the last
/// column); CASE keeps the server from doing so first.
///
/// The option's value is any spelling of a boolean.
pub(super) const INVOKERS: &str = concat!(
    "WITH locked AS MATERIALIZED (",
    locked!(),
    ") SELECT oid, CASE WHEN NOT busy THEN pg_get_viewdef(oid) END, busy \
    FROM pg_class, LATERAL (SELECT EXISTS (SELECT FROM locked WHERE relation = oid \
        OR relation IN (SELECT refobjid FROM pg_rewrite w JOIN pg_depend d ON d.objid = w.oid \
            AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass \
            WHERE w.ev_class = pg_class.oid)) AS busy) b WHERE relkind = 'v' \
    AND reloptions::text ~* 'security_invoker=' \
    AND NOT reloptions::text ~* 'security_invoker=(f|n|of|0)'"
);

pub(super) const POLICIES: &str = concat!(
    "WITH locked AS MATERIALIZED (",
    locked!(),
    "), busy AS MATERIALIZED (SELECT DISTINCT p.polrelid AS relation FROM pg_policy p, locked l \
        WHERE l.relation = p.polrelid OR l.relation IN (SELECT d.refobjid FROM pg_depend d \
            WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid \
            AND d.refclassid = 'pg_class'::regclass)) \
    SELECT polrelid, polcmd, CASE WHEN NOT busy THEN pg_get_expr(polqual, polrelid) END, \
        CASE WHEN NOT busy THEN pg_get_expr(polwithcheck, polrelid) END, busy \
    FROM (SELECT *, polrelid IN (SELECT relation FROM busy) AS busy FROM pg_policy) p"
);

/// What stands for a definition that was never read: no text that can be.
const UNREAD: &str = ")";

fn definition(loading: &mut Loading, relation: Oid) -> Option<&mut Definition> {
    let (_, _, relation) = loading.relations.get_mut(&relation)?;
    Some(relation.definition.get_or_insert_default())
}

fn add(routines: &mut Vec<Routine>, routine: &Routine) {
    if !routines.contains(routine) {
        routines.push(routine.clone());
    }
}

pub(super) fn closed(loading: &mut Loading, mut row: Row<'_>) -> Result<(), UpstreamError> {
    let (what, object, function) = (row.text()?, oid(&mut row)?, oid(&mut row)?);
    loading.mark.calling.push(oid(&mut row)?);
    // One that is not there is in a temporary schema.
    let Some(routine) = loading.closed.get(&function).cloned() else { return Ok(()) };
    if what == "t" {
        if let Some(domain) = loading.catalog.types.get_mut(&object) {
            add(&mut domain.checks, &routine);
        }
        return Ok(());
    }
    if let Some(definition) = definition(loading, object) {
        if what != "w" {
            add(&mut definition.on_read, &routine);
        }
        add(&mut definition.on_write, &routine);
    }
    Ok(())
}

pub(super) fn default(loading: &mut Loading, mut row: Row<'_>) -> Result<(), UpstreamError> {
    let (relation, column) = (oid(&mut row)?, row.text()?);
    let sequence = match row.field()? {
        Some(number) => number.parse().ok().and_then(|number| loading.name(number)),
        None => None,
    };
    if let Some(definition) = definition(loading, relation) {
        definition.defaults.push(SequenceDefault { column: Some(column.into()), sequence });
    }
    Ok(())
}

pub(super) fn invoker(loading: &mut Loading, mut row: Row<'_>) -> Result<(), UpstreamError> {
    let (relation, query) = (oid(&mut row)?, row.field()?);
    let query = match query {
        Some(query) => query.into(),
        None => {
            loading.busy = true;
            let kept = loading.kept.get(&relation).and_then(|kept| kept.invoker_query.clone());
            kept.unwrap_or_else(|| UNREAD.into())
        }
    };
    if let Some(definition) = definition(loading, relation) {
        definition.invoker_query = Some(query);
    }
    Ok(())
}

pub(super) fn policy(loading: &mut Loading, mut row: Row<'_>) -> Result<(), UpstreamError> {
    let (relation, command) = (oid(&mut row)?, row.text()?);
    let (using, check) = (row.field()?, row.field()?);
    if row.text()? == "t" {
        loading.busy = true;
        let unread = || vec![Policy { commands: "rawd", condition: UNREAD.into() }];
        let kept = loading.kept.get(&relation).map(|kept| kept.policies.clone());
        if let Some(definition) = definition(loading, relation) {
            definition.policies = kept.filter(|kept| !kept.is_empty()).unwrap_or_else(unread);
        }
        return Ok(());
    }
    // Without WITH CHECK, new rows are held to USING.
    let (of_using, of_check) = match (command, check) {
        ("r", _) => ("r", ""),
        ("a", _) => ("", "a"),
        ("w", _) => ("w", "w"),
        ("d", _) => ("d", ""),
        (_, Some(_)) => ("rwd", "aw"),
        (_, None) => ("rawd", ""),
    };
    let Some(definition) = definition(loading, relation) else { return Ok(()) };
    for (commands, condition) in [(of_using, using), (of_check, check)] {
        if let Some(condition) = condition {
            definition.policies.push(Policy { commands, condition: condition.into() });
        }
    }
    Ok(())
}

pub(super) fn below(loading: &mut Loading, mut row: Row<'_>) -> Result<(), UpstreamError> {
    let (view, relation) = (oid(&mut row)?, oid(&mut row)?);
    loading.below.entry(view).or_default().push(relation);
    Ok(())
}

/// What runs below a view runs when the view is used: functions are checked against whoever uses it,
/// however deep, and so are the sequences of defaults. Done once every part is there.
pub(super) fn propagate(loading: &mut Loading) {
    if loading.relations.values().all(|(_, _, relation)| relation.definition.is_none()) {
        return;
    }
    let below = std::mem::take(&mut loading.below);
    let found: Vec<_> = below.keys().map(|view| (*view, gather(loading, &below, *view))).collect();
    for (view, gathered) in found {
        if gathered == Definition::default() {
            continue;
        }
        let Some(definition) = definition(loading, view) else { continue };
        gathered.on_read.iter().for_each(|routine| add(&mut definition.on_read, routine));
        gathered.on_write.iter().for_each(|routine| add(&mut definition.on_write, routine));
        definition.defaults.extend(gathered.defaults);
        definition.invokers_below = gathered.invokers_below;
    }
}

fn gather(loading: &Loading, below: &HashMap<Oid, Vec<Oid>>, view: Oid) -> Definition {
    let mut seen = HashSet::from([view]);
    let mut open = vec![view];
    let mut gathered = Definition::default();
    while let Some(next) = open.pop() {
        for relation in below.get(&next).into_iter().flatten() {
            if !seen.insert(*relation) {
                continue;
            }
            open.push(*relation);
            let Some((_, _, found)) = loading.relations.get(relation) else { continue };
            let Some(definition) = &found.definition else { continue };
            if definition.invoker_query.is_some() {
                gathered.invokers_below.extend(loading.name(*relation));
            }
            definition.on_read.iter().for_each(|routine| add(&mut gathered.on_read, routine));
            definition.on_write.iter().for_each(|routine| add(&mut gathered.on_write, routine));
            let defaults = definition.defaults.iter();
            gathered.defaults.extend(
                defaults.map(|default| SequenceDefault { column: None, ..default.clone() }),
            );
        }
    }
    gathered
}
