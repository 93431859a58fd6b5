//! What the fuzz targets share: inputs with choices behind them, a small catalog, and a session with a
//! server whose every statement is decided a second time.

pub mod house;
pub mod input;
#[path = "../../src/session/mysql/tests/world/mod.rs"]
pub mod mysql_world;
pub mod server;
#[path = "../../src/session/simulation.rs"]
pub mod simulation;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use daypass::grant::privilege::parse_list;
use daypass::grant::{Grant, GrantId, GrantLimits, Route};
use daypass::identity::token::{Token, TokenSnapshot, TokenVerifier};
use daypass::identity::{PrincipalName, TokenId};
use daypass::secret::Secret;
use daypass::sql::Engine;
use daypass::sql::catalog::{
    Catalog, Function, Operator, Relation, RelationKind, Routine, Schema, TypeKind,
};
use daypass::sql::name::QualifiedName;
use daypass::time::Timestamp;

/// The moment at which every target begins.
pub const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// Random bytes of every login's nonce: always the same, so that a whole login can be an input.
pub const RANDOM: [u8; 18] = *b"eighteen bytes are";

/// The token that the principal `alice` has.
pub fn token() -> Token {
    Token::generate(&[1; 20])
}

/// The tokens of `alice`: one that lives, one that has expired.
pub static TOKENS: LazyLock<TokenSnapshot> = LazyLock::new(|| {
    let (key, alice) = (Secret::new("store key"), principal());
    let verifier = |n: u8, expires: Timestamp| {
        let token = Token::generate(&[n; 20]);
        let id = TokenId(format!("t_{n}").into());
        let issued = Timestamp::from_micros(0);
        let by = "local:root";
        Arc::new(TokenVerifier::issue(&token, id, alice.clone(), by, issued, expires, &key))
    };
    let verifiers = vec![verifier(1, NOW + Duration::from_secs(3_600)), verifier(2, NOW)];
    TokenSnapshot { store_key: key, by_principal: HashMap::from([(alice.clone(), verifiers)]) }
});

fn principal() -> PrincipalName {
    PrincipalName::new("alice").expect("a good name")
}

/// What relations there are: kind, schema and name, columns.
const RELATIONS: &str = "
    table public.t1: a b c d
    table public.t2: c d e
    table public.orders: id customer status total
    table public.secret: id token
    table public.odd name: Mixed id
    view public.v: id name
    sequence public.orders_id_seq: last_value log_cnt is_called
    index public.t1_a_idx: a
    composite public.pair: one two
    table app.t1: z
    table pg_catalog.pg_class: oid relname relnamespace relkind reltablespace relowner
    table pg_catalog.pg_attribute: attrelid attname attnum atttypid
    table pg_catalog.pg_namespace: oid nspname
    table pg_catalog.pg_authid: oid rolname rolpassword
    table pg_catalog.pg_stat_activity: pid query
    table information_schema.columns: table_name column_name
";

/// A small catalog with one of everything.
pub static CATALOG: LazyLock<Arc<Catalog>> = LazyLock::new(|| {
    let mut schemas: HashMap<Box<str>, Schema> = ["public", "app", "pg_catalog"]
        .into_iter()
        .chain(["information_schema"])
        .map(|name| (name.into(), Schema::default()))
        .collect();
    for line in RELATIONS.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (head, columns) = line.split_once(':').expect("a colon");
        let (kind, name) = head.split_once(' ').expect("a kind");
        let (schema, name) = name.split_once('.').expect("a schema");
        let kind = match kind {
            "view" => RelationKind::View,
            "sequence" => RelationKind::Sequence,
            "index" => RelationKind::Index,
            "composite" => RelationKind::Composite,
            _ => RelationKind::Table,
        };
        let owner = QualifiedName::new("public", "orders");
        let relation = Relation {
            kind,
            columns: columns.split_whitespace().map(Box::from).collect(),
            owned_by: (kind == RelationKind::Sequence).then(|| (owner, "id".into())),
            bypassed_row_security: name == "secret",
            ..Relation::default()
        };
        schemas.get_mut(schema).expect("a known schema").relations.insert(name.into(), relation);
    }
    let overloads = |list: &[&str]| {
        let number = |name: &str| if name == "text" { 25 } else { 23 };
        let function = |text: &&str| Function {
            arguments: (*text).into(),
            inputs: text.split(", ").map(number).collect(),
            ..Function::default()
        };
        list.iter().map(function).collect::<Vec<_>>()
    };
    let public = schemas.get_mut("public").expect("public");
    public.functions.insert("add".into(), overloads(&["integer, integer", "text, text"]));
    public.functions.insert("upper".into(), overloads(&["mood"]));
    let function =
        Routine { name: QualifiedName::new("public", "add"), arguments: "text, text".into() };
    public.operators.insert("===".into(), vec![Operator { left: 25, right: 25, function }]);
    public.types.insert("mood".into(), TypeKind::Enum);
    public.types.insert("dom".into(), TypeKind::Domain);
    let system = schemas.get_mut("pg_catalog").expect("pg_catalog");
    for name in ["int4", "int8", "text", "varchar", "name", "bool", "numeric", "json", "regclass"] {
        system.types.insert(name.into(), TypeKind::Base);
    }
    Arc::new(Catalog {
        version: 1,
        server_version: 150_018,
        schemas: schemas.into_iter().map(|(name, schema)| (name, Arc::new(schema))).collect(),
        ..Catalog::default()
    })
});

/// The search path that goes with [`CATALOG`].
pub fn path() -> Vec<Box<str>> {
    vec!["pg_catalog".into(), "public".into()]
}

/// A grant of `alice` on the database `shop`, for so many seconds.
pub fn grant(
    engine: Engine,
    id: &str,
    privileges: &str,
    from: Timestamp,
    seconds: u64,
) -> Arc<Grant> {
    Arc::new(Grant {
        id: GrantId(id.into()),
        principal: principal(),
        database: "shop".into(),
        privileges: parse_list(privileges, engine, "shop").expect("good privileges"),
        not_before: from,
        expires: from + Duration::from_secs(seconds),
        reason: "fuzz".into(),
        ticket: None,
        approvers: vec!["local:root".into()],
        request: None,
        limits: GrantLimits::default(),
        row_filter: None,
        route: Route::Any,
        created: from,
        revoked: None,
    })
}
