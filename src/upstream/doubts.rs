//! Loading what is not known to mean the same at a replica: functions, and the relations and types that use them
//! or each other.
//!
//! What a user's object uses of users' stands in `pg_depend`. What it uses of the server's own does not: there the
//! server's trees of expressions are searched for the numbers. Bodies in a string are in neither; of those it is
//! known which words stand in them, and one that is the name of something doubted is enough.

use std::collections::HashMap;

use super::client::Row;
use super::error::UpstreamError;
use super::loading::{Loading, Oid, oid};
use crate::sql::catalog::{AtReplica, Function, Origin, Relation, RelationKind};
use crate::sql::postgres::{is_same_at_replica, tells_of_one_server};

/// Numbers below are of what the server came with.
const FIRST_OF_USERS: Oid = 16_384;

/// Words of a body that run, or name, what its words do not tell.
const DYNAMIC: [&str; 2] = ["execute", "pg_temp"];

/// `(what, object, row, kind, number)`: a view, a policy's relation, a domain or a function, the row that says so,
/// and a function or relation of the server's own that stands in it. IMMUTABLE functions are the same, but for
/// those that are named here.
///
/// Of rows that are known from before, only those are searched in which something was doubted then.
pub(super) const TREES: &str = "WITH named AS MATERIALIZED (SELECT oid FROM pg_proc \
        WHERE oid < 16384 AND (provolatile <> 'i' OR proname ~ '^pg_walfile_name')), \
    trees (what, object, row, wanted, tree) AS ( \
        SELECT 'r', ev_class, oid, age(xmin) <= $since OR oid = ANY ($doubted) OR $many, \
            ev_action::text FROM pg_rewrite WHERE ev_type = '1' AND ev_class >= 16384 \
        UNION ALL SELECT 'r', polrelid, oid, age(xmin) <= $since OR oid = ANY ($doubted) OR $many, \
            polqual::text FROM pg_policy \
        UNION ALL SELECT 't', contypid, oid, age(xmin) <= $since OR oid = ANY ($doubted) OR $many, \
            conbin::text FROM pg_constraint WHERE conbin IS NOT NULL AND contypid <> 0 \
        UNION ALL SELECT 'f', oid, oid, age(xmin) <= $since OR oid = ANY ($doubted) OR $many, \
            concat(proargdefaults, CASE WHEN prosrc = '' THEN to_jsonb(pg_proc) ->> 'prosqlbody' END) \
            FROM pg_proc WHERE oid >= 16384 AND (proargdefaults IS NOT NULL OR prosrc = '')), \
    found (what, object, row, kind, number) AS (SELECT DISTINCT what, object, row, \
            CASE f[1] WHEN 'relid' THEN 'r' ELSE 'f' END, f[2]::oid \
        FROM trees, regexp_matches(CASE WHEN wanted THEN tree END, \
            ':(relid|funcid|opfuncid|aggfnoid|winfnoid) ([0-9]{1,5}) ', 'g') f) \
    SELECT * FROM found WHERE number < 16384 \
    AND (kind = 'r' OR number IN (SELECT oid FROM named))";

/// `(what, object, kind, number)`: what of users' a relation, a type or a function uses; `o` is whatever a body may
/// use without a word, by an operator or a cast.
pub(super) const USES: &str = "WITH used (class, object, kind, number) AS MATERIALIZED ( \
        SELECT d.classid, d.objid, 'f', coalesce(o.oprcode::oid, d.refobjid) FROM pg_depend d \
            LEFT JOIN pg_operator o \
                ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid \
            WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) \
            AND d.refobjid >= 16384 AND d.classid IN ('pg_rewrite'::regclass, \
                'pg_policy'::regclass, 'pg_constraint'::regclass, 'pg_type'::regclass, \
                'pg_proc'::regclass) \
        UNION ALL SELECT classid, objid, 't', refobjid FROM pg_depend \
            WHERE refclassid = 'pg_type'::regclass AND refobjid >= 16384 \
            AND classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, \
                'pg_constraint'::regclass, 'pg_proc'::regclass) \
        UNION ALL SELECT classid, objid, 'r', refobjid FROM pg_depend \
            WHERE refclassid = 'pg_class'::regclass AND refobjid >= 16384 \
            AND classid IN ('pg_policy'::regclass, 'pg_proc'::regclass)) \
    SELECT 'r', w.ev_class, kind, number FROM used \
        JOIN pg_rewrite w ON w.oid = object AND w.ev_type = '1' WHERE class = 'pg_rewrite'::regclass \
    UNION SELECT 'r', p.polrelid, kind, number FROM used \
        JOIN pg_policy p ON p.oid = object WHERE class = 'pg_policy'::regclass \
    UNION SELECT 't', c.contypid, kind, number FROM used \
        JOIN pg_constraint c ON c.oid = object AND c.contypid <> 0 \
        WHERE class = 'pg_constraint'::regclass \
    UNION SELECT 't', object, kind, number FROM used WHERE class = 'pg_type'::regclass \
    UNION SELECT 't', rngtypid, 't', rngsubtype FROM pg_range WHERE rngtypid >= 16384 \
    UNION SELECT 'f', object, kind, number FROM used WHERE class = 'pg_proc'::regclass \
    UNION SELECT 'o', 0, 'f', oprcode::oid FROM pg_operator WHERE oid >= 16384 \
    UNION SELECT 'o', 0, 'f', castfunc FROM pg_cast WHERE oid >= 16384 AND castfunc <> 0";

/// Something that may be doubted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Thing {
    Function(Oid),
    Relation(Oid),
    Type(Oid),
    /// The row type of any table.
    Rows,
    /// Every body in a string.
    Bodies,
}

/// What is doubted, and why more may be.
#[derive(Default)]
pub(super) struct Doubts {
    /// What is doubted for what it is itself.
    itself: Vec<(Thing, AtReplica)>,
    /// The server's own functions that are, by number.
    listed: HashMap<Oid, Box<str>>,
    /// What uses something.
    users: HashMap<Thing, Vec<Thing>>,
    /// Functions by the words of their bodies.
    bodies: HashMap<Box<str>, Vec<Oid>>,
    /// Functions of users: schema, name, and which overload.
    functions: HashMap<Oid, (Oid, Box<str>, usize)>,
}

impl Doubts {
    fn doubt(&mut self, thing: Thing) {
        self.itself.push((thing, AtReplica::Unsure));
    }

    fn uses(&mut self, user: Thing, used: Thing) {
        self.users.entry(used).or_default().push(user);
    }

    /// A function, before it takes its place among the overloads of its name: what is known of it at once.
    /// `words` are those of its body.
    pub(super) fn function(
        &mut self,
        number: Oid,
        (schema, name, at): (Oid, &str, usize),
        function: &Function,
        words: Option<&str>,
    ) -> bool {
        let known = is_same_at_replica(name, function);
        if function.origin == Origin::Server {
            if known == Some(false) {
                self.doubt(Thing::Function(number));
                self.listed.insert(number, name.into());
            }
            return known == Some(true);
        }
        self.functions.insert(number, (schema, name.into(), at));
        match (known, words) {
            (Some(true), _) => {}
            (None, Some(words)) => {
                for word in words.split(' ').filter(|word| !word.is_empty()) {
                    self.bodies.entry(word.into()).or_default().push(number);
                }
                if !words.is_empty() {
                    self.uses(Thing::Function(number), Thing::Bodies);
                }
            }
            (Some(false), _) | (None, None) => self.doubt(Thing::Function(number)),
        }
        // Until it is doubted for what it uses.
        true
    }

    /// All that is doubted, with the reason, and bodies by their words.
    fn spread(&self, loading: &Loading) -> HashMap<Thing, AtReplica> {
        let mut open = self.itself.clone();
        open.extend(DYNAMIC.iter().flat_map(|word| self.named(word)));
        let mut doubted = HashMap::new();
        while let Some((thing, why)) = open.pop() {
            if doubted.contains_key(&thing) {
                continue;
            }
            doubted.insert(thing, why);
            for user in self.users.get(&thing).into_iter().flatten() {
                let through = matches!((thing, user), (Thing::Relation(_), Thing::Relation(_)));
                open.push((*user, if through { why } else { AtReplica::Unsure }));
            }
            if matches!(thing, Thing::Type(_)) {
                open.push((Thing::Rows, AtReplica::Unsure));
            }
            if !self.bodies.is_empty()
                && let Some(name) = self.name(thing, loading)
            {
                open.extend(self.named(&name));
            }
        }
        doubted
    }

    /// Bodies in which a name may stand: each of its words, as they were taken from the bodies.
    fn named(&self, name: &str) -> Vec<(Thing, AtReplica)> {
        let lower = name.to_ascii_lowercase();
        let is_of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
        let whole = lower.split(|c| !is_of_word(c));
        // A database of the locale C knows no letters but these.
        let ascii = lower.split(|c: char| !c.is_ascii() || !is_of_word(c));
        let functions = whole.chain(ascii).filter_map(|word| self.bodies.get(word)).flatten();
        functions.map(|number| (Thing::Function(*number), AtReplica::Unsure)).collect()
    }

    fn name(&self, thing: Thing, loading: &Loading) -> Option<Box<str>> {
        match thing {
            Thing::Function(number) => {
                let own = || self.functions.get(&number).map(|(_, name, _)| name.clone());
                self.listed.get(&number).cloned().or_else(own)
            }
            Thing::Relation(number) => {
                loading.relations.get(&number).map(|(_, name, _)| name.clone())
            }
            Thing::Type(number) => loading.schemas.values().find_map(|(_, schema)| {
                let mut types = schema.type_ids.iter();
                types.find(|(_, known)| **known == number).map(|(name, _)| name.clone())
            }),
            Thing::Rows | Thing::Bodies => None,
        }
    }
}

/// A thing by its kind and number.
fn thing(kind: &str, number: Oid) -> Thing {
    match kind {
        "r" => Thing::Relation(number),
        "t" => Thing::Type(number),
        "f" => Thing::Function(number),
        _ => Thing::Bodies,
    }
}

pub(super) fn tree(loading: &mut Loading, mut row: Row<'_>) -> Result<(), UpstreamError> {
    let (what, object, number) = (row.text()?, oid(&mut row)?, oid(&mut row)?);
    let user = thing(what, object);
    let used = thing(row.text()?, oid(&mut row)?);
    let is_doubted = match used {
        Thing::Relation(relation) => loading.relations.get(&relation).is_none_or(is_of_one_server),
        Thing::Function(function) => loading.doubts.listed.contains_key(&function),
        Thing::Type(_) | Thing::Rows | Thing::Bodies => false,
    };
    if is_doubted && !loading.is_kept(user) {
        loading.mark.doubted.push(number);
        loading.doubts.doubt(user);
    }
    Ok(())
}

pub(super) fn uses(loading: &mut Loading, mut row: Row<'_>) -> Result<(), UpstreamError> {
    let user = thing(row.text()?, oid(&mut row)?);
    let used = thing(row.text()?, oid(&mut row)?);
    if !loading.is_kept(user) {
        loading.doubts.uses(user, used);
    }
    Ok(())
}

/// Whether a relation of the server's own tells of one server.
fn is_of_one_server((_, name, _): &(Oid, Box<str>, Relation)) -> bool {
    tells_of_one_server(name)
}

impl Loading {
    /// Whether it is a materialized view: it has its rows, and its query does not run when they are read.
    fn is_kept(&self, thing: Thing) -> bool {
        let Thing::Relation(number) = thing else { return false };
        let found = self.relations.get(&number);
        found.is_some_and(|(_, _, relation)| relation.kind == RelationKind::MaterializedView)
    }

    /// Says of each function, relation and type whether it is the same at a replica, once every part is there.
    pub(super) fn settle_doubts(&mut self) {
        let mut doubts = std::mem::take(&mut self.doubts);
        for (number, (_, name, relation)) in &self.relations {
            let why = match relation.kind {
                RelationKind::ForeignTable => AtReplica::Foreign,
                // Reading one is not confirmed for its kind; this is for what reads it.
                RelationKind::Sequence => AtReplica::Unsure,
                _ if *number < FIRST_OF_USERS && tells_of_one_server(name) => AtReplica::Unsure,
                _ if relation.at_replica != AtReplica::Same => relation.at_replica,
                _ => continue,
            };
            doubts.itself.push((Thing::Relation(*number), why));
        }
        let read = self.children.iter().chain(&self.below);
        for (upper, lower) in read.flat_map(|(upper, all)| all.iter().map(move |one| (upper, one)))
        {
            if !self.is_kept(Thing::Relation(*upper)) {
                doubts.uses(Thing::Relation(*upper), Thing::Relation(*lower));
            }
        }
        for (number, found) in &self.catalog.types {
            for below in [found.base, found.element].into_iter().filter(|it| *it >= FIRST_OF_USERS)
            {
                doubts.uses(Thing::Type(*number), Thing::Type(below));
            }
        }
        for (schema, name, relation) in self.relations.values() {
            if relation.kind != RelationKind::Composite {
                continue;
            }
            let schema = self.schemas.get(schema);
            let Some(own) = schema.and_then(|(_, schema)| schema.type_ids.get(name)) else {
                continue;
            };
            for column in relation.column_types.iter().filter(|it| **it >= FIRST_OF_USERS) {
                doubts.uses(Thing::Type(*own), Thing::Type(*column));
            }
        }
        let rows: Vec<_> = doubts
            .users
            .extract_if(|used, _| {
                matches!(used, Thing::Type(number) if !self.catalog.types.contains_key(number))
            })
            .flat_map(|(_, users)| users)
            .collect();
        doubts.users.entry(Thing::Rows).or_default().extend(rows);
        for (thing, why) in doubts.spread(self) {
            match thing {
                Thing::Relation(number) => {
                    if let Some((_, _, relation)) = self.relations.get_mut(&number)
                        && number >= FIRST_OF_USERS
                        && relation.kind != RelationKind::Sequence
                    {
                        relation.at_replica = why;
                    }
                }
                Thing::Type(number) => {
                    if let Some(found) = self.catalog.types.get_mut(&number) {
                        found.at_replica = false;
                    }
                }
                Thing::Function(number) => {
                    let Some((schema, name, at)) = doubts.functions.get(&number) else { continue };
                    let Some((_, schema)) = self.schemas.get_mut(schema) else { continue };
                    let overloads = schema.functions.get_mut(name);
                    if let Some(function) = overloads.and_then(|all| all.get_mut(*at)) {
                        function.at_replica = false;
                    }
                }
                Thing::Rows | Thing::Bodies => {}
            }
        }
    }
}
