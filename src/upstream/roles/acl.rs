//! What a set of privileges comes to in the server's own: one entry of an access control list each.
//!
//! It is asked of [`grant::covers`](crate::grant::covers), object by object, so that the server allows what
//! the proxy's decision allows and nothing else. Levels on a schema or database reach system schemas
//! only where these are named. CREATE is left out: what a person's role made it would own, and no grant
//! could take that back. So is BYPASS ROW SECURITY: the server has it as an attribute of a role only, for every
//! relation of every database.

use std::collections::BTreeSet;

use crate::grant::covers;
use crate::grant::privilege::{Item, Privilege};
use crate::sql::Engine;
use crate::sql::access::{Access, Columns, Object, Operation};
use crate::sql::name::QualifiedName;

/// The right to connect to the database, which every grant implies and no operation of the grammar is.
pub const CONNECT: &str = "CONNECT";

/// One right on one object or column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// On what.
    pub object: Object,
    /// The server's key word: `SELECT`.
    pub keyword: &'static str,
    /// Of a relation, on this column only.
    pub column: Option<Box<str>>,
}

/// What of an object's rights the service account may give away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grantable {
    /// All: it owns it, or is a superuser.
    All,
    /// These, which it was given WITH GRANT OPTION.
    Only(Vec<Box<str>>),
}

impl Grantable {
    /// Whether it may give that one.
    pub fn has(&self, keyword: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(keywords) => keywords.iter().any(|known| **known == *keyword),
        }
    }
}

/// An object as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which.
    pub object: Object,
    /// The relation whose column owns a sequence.
    pub owner: Option<QualifiedName>,
    /// Columns, of relations of which some are granted.
    pub columns: BTreeSet<Box<str>>,
    /// What may be given away.
    pub grantable: Grantable,
    /// What everybody may.
    pub public: Vec<Box<str>>,
}

/// What a set comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// What its role is to hold.
    pub held: BTreeSet<Right>,
    /// What it should hold, and the service account may not give.
    pub lacking: BTreeSet<Right>,
}

/// The rights that privileges come to, on the objects that there are.
pub fn rights(privileges: &[Privilege], known: &[Known], server_version: u32) -> Rights {
    let mut rights = Rights::default();
    for thing in known {
        for right in rights_on(privileges, thing, server_version) {
            if thing.grantable.has(right.keyword) {
                rights.held.insert(right);
            } else if !thing.public.iter().any(|keyword| **keyword == *right.keyword) {
                rights.lacking.insert(right);
            }
        }
    }
    rights
}

fn rights_on(privileges: &[Privilege], thing: &Known, server_version: u32) -> Vec<Right> {
    let object = &thing.object;
    let right = |keyword| Right { object: object.clone(), keyword, column: None };
    if *object == Object::Database {
        return if privileges.is_empty() { Vec::new() } else { vec![right(CONNECT)] };
    }
    let named = |schema: &str| privileges.iter().any(|it| it.object.schema() == Some(schema));
    if object.schema().is_some_and(|schema| is_system(schema) && !named(schema)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let operations = Operation::of(Engine::Postgres).iter().copied();
    for operation in operations.filter(|it| exists(*it, object, server_version)) {
        if covers(privileges, &access(operation, thing)) {
            found.push(right(operation.keyword()));
        } else if operation.takes_columns() && !thing.columns.is_empty() {
            let columns = columns(privileges, operation, object);
            found.extend(columns.filter(|it| thing.columns.contains(*it)).map(|column| Right {
                column: Some(column.clone()),
                ..right(operation.keyword())
            }));
        }
    }
    found
}

fn access(operation: Operation, thing: &Known) -> Access {
    match (&thing.object, &thing.owner) {
        (Object::Sequence(sequence), Some(owner)) => {
            Access::OwnedSequence { operation, sequence: sequence.clone(), owner: owner.clone() }
        }
        (object, _) => {
            Access::Privilege { operation, object: object.clone(), columns: Columns::Whole }
        }
    }
}

/// Columns that are granted by name.
fn columns<'a>(
    privileges: &'a [Privilege],
    operation: Operation,
    object: &Object,
) -> impl Iterator<Item = &'a Box<str>> {
    let items = privileges.iter().filter(move |it| it.object == *object).flat_map(|it| &it.items);
    let lists = items.filter_map(move |item| match item {
        Item::Operation(held, Some(columns)) if *held == operation => Some(columns),
        _ => None,
    });
    lists.flatten().collect::<BTreeSet<_>>().into_iter()
}

/// Whether the server knows such a right on such an object.
fn exists(operation: Operation, object: &Object, server_version: u32) -> bool {
    const MAINTAIN_SINCE: u32 = 170_000;
    match object {
        Object::Relation(_) => match operation {
            Operation::Maintain => server_version >= MAINTAIN_SINCE,
            Operation::Usage
            | Operation::Execute
            | Operation::Create
            | Operation::BypassRowSecurity => false,
            _ => true,
        },
        Object::Sequence(_) => {
            matches!(operation, Operation::Select | Operation::Update | Operation::Usage)
        }
        Object::Function { .. } => operation == Operation::Execute,
        Object::Schema(_) => operation == Operation::Usage,
        Object::Database | Object::Procedure(_) => false,
    }
}

/// Whether a schema is the server's own.
pub fn is_system(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema") || schema.starts_with("pg_toast")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::grant::privilege::parse_stored;

    pub(crate) fn privileges(texts: &[&str]) -> Vec<Privilege> {
        texts.iter().map(|text| parse_stored(text).unwrap()).collect()
    }

    pub(crate) fn known(object: Object) -> Known {
        let (columns, public) = (BTreeSet::new(), Vec::new());
        Known { object, owner: None, columns, grantable: Grantable::All, public }
    }

    fn relation(schema: &str, name: &str) -> Object {
        Object::Relation(QualifiedName::new(schema, name))
    }

    fn house() -> Vec<Known> {
        let mut orders = known(relation("public", "orders"));
        orders.columns = ["id", "status", "total"].map(Box::from).into();
        let mut sequence = known(Object::Sequence(QualifiedName::new("public", "orders_id_seq")));
        sequence.owner = Some(QualifiedName::new("public", "orders"));
        let mut foreign = known(relation("public", "foreign"));
        foreign.grantable = Grantable::Only(vec!["SELECT".into()]);
        foreign.public = vec!["UPDATE".into()];
        let function = Object::Function {
            name: QualifiedName::new("public", "f"),
            arguments: "integer, text".into(),
        };
        vec![
            known(Object::Database),
            known(Object::Schema("public".into())),
            known(Object::Schema("pg_catalog".into())),
            known(Object::Schema("s".into())),
            orders,
            sequence,
            foreign,
            known(relation("s", "t")),
            known(relation("pg_catalog", "pg_authid")),
            known(function),
        ]
    }

    fn shown(rights: &BTreeSet<Right>) -> Vec<String> {
        let rights = rights.iter().map(|Right { object, keyword, column }| {
            let column = column.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
            format!("{keyword}{column} {object}")
        });
        rights.collect()
    }

    #[track_caller]
    fn comes_to(texts: &[&str], expected: &[&str]) {
        let rights = rights(&privileges(texts), &house(), 150_018);
        assert_eq!(shown(&rights.held), expected, "{texts:?}");
    }

    #[test]
    fn an_operation_is_the_servers_own_with_what_it_implies() {
        comes_to(
            &["SELECT ON public.orders"],
            &["CONNECT DATABASE", "USAGE SCHEMA public", "SELECT public.orders"],
        );
        comes_to(
            &["SELECT (id, gone), UPDATE (status) ON public.orders"],
            &[
                "CONNECT DATABASE",
                "USAGE SCHEMA public",
                "SELECT (id) public.orders",
                "UPDATE (status) public.orders",
            ],
        );
        comes_to(
            &["EXECUTE ON FUNCTION public.f(integer, text)"],
            &[
                "CONNECT DATABASE",
                "USAGE SCHEMA public",
                "EXECUTE FUNCTION public.f(integer, text)",
            ],
        );
        comes_to(&["SELECT ON public.gone"], &["CONNECT DATABASE", "USAGE SCHEMA public"]);
    }

    #[test]
    fn levels_reach_what_they_cover_and_no_system_schema_that_is_not_named() {
        comes_to(&["READ ON SCHEMA s"], &["CONNECT DATABASE", "USAGE SCHEMA s", "SELECT s.t"]);
        comes_to(
            &["WRITE ON public.orders"],
            &[
                "CONNECT DATABASE",
                "USAGE SCHEMA public",
                "DELETE public.orders",
                "INSERT public.orders",
                "SELECT public.orders",
                "UPDATE public.orders",
                "USAGE SEQUENCE public.orders_id_seq",
            ],
        );
        comes_to(
            &["READ ON pg_catalog.pg_authid"],
            &["CONNECT DATABASE", "USAGE SCHEMA pg_catalog", "SELECT pg_catalog.pg_authid"],
        );
        let everything = rights(&privileges(&["ADMIN ON DATABASE"]), &house(), 150_018);
        let text = shown(&everything.held).join("; ");
        assert!(text.contains("TRUNCATE s.t") && text.contains("EXECUTE FUNCTION public.f"));
        assert!(!text.contains("pg_catalog") && !text.contains("CREATE"), "{text}");
        assert!(!text.contains("MAINTAIN"), "15 has none: {text}");
        let newer = rights(&privileges(&["ADMIN ON s.t"]), &house(), 170_000);
        assert!(shown(&newer.held).contains(&"MAINTAIN s.t".to_owned()));
    }

    #[test]
    fn what_the_service_account_may_not_give_is_lacking() {
        let found = rights(&privileges(&["WRITE ON public.foreign"]), &house(), 150_018);
        assert!(shown(&found.held).contains(&"SELECT public.foreign".to_owned()));
        assert_eq!(
            shown(&found.lacking),
            ["DELETE public.foreign", "INSERT public.foreign"],
            "everybody may UPDATE it"
        );
    }
}
