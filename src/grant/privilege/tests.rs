//! The grammar: tables of what is read, what is refused and why, and the way back.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<String, String> {
    parse(text, Engine::Postgres, "shop")
        .map(|privilege| privilege.to_string())
        .map_err(|error| error.to_string())
}

#[test]
fn privileges_are_read_and_shown_in_one_form() {
    for (written, shown) in [
        ("SELECT ON public.orders", "SELECT ON public.orders"),
        ("select on table Public.Orders", "SELECT ON public.orders"),
        (
            "SELECT(id,email),UPDATE ( status )ON public.orders",
            "SELECT (email, id), UPDATE (status) ON public.orders",
        ),
        ("SELECT (a), SELECT (b) ON s.t", "SELECT (a, b) ON s.t"),
        ("SELECT (a), SELECT ON s.t", "SELECT ON s.t"),
        ("READ, WRITE ON SCHEMA s", "WRITE ON SCHEMA s"),
        ("READ, SELECT, TRUNCATE ON s.t", "READ, TRUNCATE ON s.t"),
        ("ADMIN, SELECT ON s.t", "ADMIN ON s.t"),
        ("READ ON DATABASE", "READ ON DATABASE"),
        ("bypass row security ON TABLE s.t", "BYPASS ROW SECURITY ON s.t"),
        ("BYPASS  ROW\nSECURITY, READ ON DATABASE", "READ, BYPASS ROW SECURITY ON DATABASE"),
        (
            "SELECT, BYPASS ROW SECURITY, ADMIN ON SCHEMA s",
            "ADMIN, BYPASS ROW SECURITY ON SCHEMA s",
        ),
        ("READ ON DATABASE shop", "READ ON DATABASE"),
        ("READ ON DATABASE \"shop\"", "READ ON DATABASE"),
        ("USAGE ON SEQUENCE s.q", "USAGE ON SEQUENCE s.q"),
        (
            "EXECUTE ON FUNCTION s.f(int, varchar(3))",
            "EXECUTE ON FUNCTION s.f(integer, character varying)",
        ),
        ("EXECUTE ON FUNCTION s.f()", "EXECUTE ON FUNCTION s.f()"),
        ("EXECUTE ON FUNCTION s.f(\"a)b\")", "EXECUTE ON FUNCTION s.f(\"a)b\")"),
        ("USAGE, CREATE ON SCHEMA s", "USAGE, CREATE ON SCHEMA s"),
        (
            "SELECT (\"Mixed\"\"Case\") ON \"Sales\".\"Q 1\"",
            "SELECT (\"Mixed\"\"Case\") ON \"Sales\".\"Q 1\"",
        ),
        // A schema that is called like a kind of object.
        ("SELECT ON schema.t", "SELECT ON schema.t"),
        ("SELECT ON \"table\".t", "SELECT ON table.t"),
        ("  SELECT\n\tON s . t ", "SELECT ON s.t"),
        ("SELECT ON s.straße", "SELECT ON s.\"straße\""),
    ] {
        assert_eq!(read(written).as_deref(), Ok(shown), "{written}");
        assert_eq!(read(shown).as_deref(), Ok(shown), "{shown}");
    }
}

#[test]
fn what_is_no_privilege_is_refused_with_the_place_and_what_to_write() {
    for (written, sentence) in [
        ("", "expected a level or an operation, found the end (at character 1)"),
        ("SELECT", "expected ',' or ON, found the end (at character 7)"),
        ("SELECT FROM s.t", "expected ',' or ON, found \"FROM s.t\" (at character 8)"),
        ("SELECT ON orders", "orders needs its schema: write public.orders (at character 11)"),
        ("USAGE ON SEQUENCE q", "q needs its schema: write public.q (at character 19)"),
        (
            "SELECT ON shop.public.orders",
            "a name has a schema and a name; the configured database is never part of it (at character 11)",
        ),
        (
            "MERGE ON s.t",
            "MERGE is granted as the operations it performs: SELECT with INSERT, UPDATE or DELETE (at character 1)",
        ),
        (
            "ALL ON s.t",
            "ALL is not a level: write ADMIN, or the operations that are needed (at character 1)",
        ),
        (
            "SELECT ON ALL TABLES IN SCHEMA s",
            "ALL is no kind of object: write DATABASE, SCHEMA s, [TABLE] s.r, SEQUENCE s.q or FUNCTION s.f(types) (at character 11)",
        ),
        (
            "READ ON DATABASE crm",
            "DATABASE crm is not the database of this grant (shop): write ON DATABASE (at character 18)",
        ),
        (
            "EXECUTE ON s.t",
            "EXECUTE does not apply to a relation; it applies to functions, schemas and databases (at character 1)",
        ),
        (
            "SELECT, USAGE ON s.t",
            "USAGE does not apply to a relation; it applies to sequences and schemas (at character 9)",
        ),
        (
            "WRITE ON SEQUENCE s.q",
            "WRITE does not apply to a sequence; it applies to relations and schemas: write SELECT, USAGE or UPDATE (at character 1)",
        ),
        (
            "READ ON FUNCTION s.f()",
            "READ does not apply to a function; it applies to relations and schemas: write EXECUTE (at character 1)",
        ),
        (
            "DELETE (id) ON s.t",
            "DELETE takes no columns: only SELECT, INSERT, UPDATE and REFERENCES on a relation do (at character 8)",
        ),
        (
            "READ (id) ON s.t",
            "READ takes no columns: only SELECT, INSERT, UPDATE and REFERENCES on a relation do (at character 6)",
        ),
        (
            "SELECT (id) ON SCHEMA s",
            "columns belong to a relation, not to a schema (at character 1)",
        ),
        ("BYPASS ON s.t", "expected BYPASS ROW SECURITY, found \"ON s.t\" (at character 8)"),
        (
            "BYPASS ROW \"SECURITY\" ON s.t",
            "expected BYPASS ROW SECURITY, found \"\\\"SECURITY\\\" ON s.t\" (at character 12)",
        ),
        (
            "BYPASS ROW SECURITY (a) ON s.t",
            "BYPASS ROW SECURITY takes no columns: only SELECT, INSERT, UPDATE and REFERENCES on a relation do (at character 21)",
        ),
        (
            "BYPASS ROW SECURITY ON SEQUENCE s.q",
            "BYPASS ROW SECURITY does not apply to a sequence; it applies to relations, schemas and databases (at character 1)",
        ),
        ("SELECT () ON s.t", "expected a column, found \") ON s.t\" (at character 9)"),
        ("SELECT (a b) ON s.t", "expected ',' or ')', found \"b) ON s.t\" (at character 11)"),
        ("SELECT ON s.\"t", "a quoted name has no end (at character 13)"),
        ("SELECT ON \"\".t", "a quoted name is empty or has a control character (at character 11)"),
        (
            "SELECT ON s.a\u{9d}b",
            "expected the end of the privilege, found \"\\u{9d}b\" (at character 14)",
        ),
        ("SELECT ON `s`.t", "names are quoted with \" on this engine (at character 11)"),
        (
            "SELECT ON s.t; DROP TABLE s.t",
            "expected the end of the privilege, found \"; DROP TABLE s.t\" (at character 14)",
        ),
        (
            "EXECUTE ON FUNCTION s.f",
            "expected '(' and the types of the function's arguments, found the end (at character 24)",
        ),
        (
            "EXECUTE ON FUNCTION s.f(a int)",
            "write the types of the arguments only, without their names (at character 25)",
        ),
        ("EXECUTE ON FUNCTION s.f(int", "expected ')', found the end (at character 28)"),
        (
            "SELECT ON 1s.t",
            "expected DATABASE, SCHEMA, TABLE, SEQUENCE, FUNCTION or a relation, found \"1s.t\" (at character 11)",
        ),
    ] {
        assert_eq!(read(written), Err(sentence.to_owned()), "{written}");
    }
}

#[test]
fn names_longer_than_the_servers_are_refused_not_cut() {
    let name = "a".repeat(64);
    let error = parse(&format!("SELECT ON s.{name}"), Engine::Postgres, "shop").unwrap_err();
    assert_eq!(error.kind, ParseErrorKind::NameTooLong("63 bytes"));
    assert!(parse(&format!("SELECT ON s.{name}"), Engine::Mysql, "shop").is_ok());
    let error = parse(&format!("SELECT ON s.{name}a"), Engine::Mysql, "shop").unwrap_err();
    assert_eq!(error.kind, ParseErrorKind::NameTooLong("64 characters"));
    let error = parse(&"x".repeat(BYTES_MAX + 1), Engine::Postgres, "shop").unwrap_err();
    assert_eq!(error.kind, ParseErrorKind::TooLong);
}

#[test]
fn mysql_quotes_with_backticks_and_folds_columns_only() {
    let privilege = parse("select (Id, `a``b`) on Shop.2020Orders", Engine::Mysql, "crm").unwrap();
    assert_eq!(
        privilege.display(Engine::Mysql).to_string(),
        "SELECT (`a``b`, id) ON `Shop`.`2020Orders`"
    );
    assert_eq!(parse_stored(&privilege.stored()), Ok(privilege));
    let error = parse("SELECT ON orders", Engine::Mysql, "crm").unwrap_err();
    assert_eq!(error.to_string(), "orders needs its database: write crm.orders (at character 11)");
    assert!(parse("SELECT ON \"s\".t", Engine::Mysql, "crm").is_err());
}

#[test]
fn a_list_is_separated_by_semicolons() {
    let list =
        parse_list("SELECT ON s.\"a;b\"; READ ON DATABASE; ", Engine::Postgres, "shop").unwrap();
    let shown: Vec<_> = list.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["SELECT ON s.\"a;b\"", "READ ON DATABASE"]);
    let error = parse_list("SELECT ON s.t; SELECT ON t", Engine::Postgres, "shop").unwrap_err();
    assert_eq!(error.position, 26);
}

fn names() -> impl Strategy<Value = Box<str>> {
    prop_oneof![
        "[a-z_][a-z0-9_]{0,20}".prop_map(Into::into),
        "[ -~äß☃]{1,20}".prop_map(Into::into),
        Just("on".into()),
        Just("Table".into()),
    ]
}

#[test]
fn mysql_has_its_own_operations_and_objects() {
    let shown = |text: &str| {
        parse(text, Engine::Mysql, "crm").map(|it| it.display(Engine::Mysql).to_string())
    };
    for (text, expected) in [
        (
            "show view, create view, create ON SCHEMA crm",
            "CREATE, CREATE VIEW, SHOW VIEW ON SCHEMA crm",
        ),
        (
            "create temporary tables, lock tables ON SCHEMA crm",
            "CREATE TEMPORARY TABLES, LOCK TABLES ON SCHEMA crm",
        ),
        ("read, select, show view, lock tables ON SCHEMA crm", "READ ON SCHEMA crm"),
        ("EXECUTE ON FUNCTION crm.f", "EXECUTE ON FUNCTION crm.f()"),
        ("EXECUTE, alter routine ON PROCEDURE crm.f", "EXECUTE, ALTER ROUTINE ON PROCEDURE crm.f"),
        ("file, process, reload ON DATABASE", "FILE, PROCESS, RELOAD ON DATABASE"),
        ("DROP, ALTER, INDEX ON crm.t", "DROP, ALTER, INDEX ON crm.t"),
    ] {
        assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
    }
    for text in [
        "TRUNCATE ON crm.t",
        "LOCK TABLES ON crm.t",
        "FILE ON SCHEMA crm",
        "USAGE ON SCHEMA crm",
        "EXECUTE ON FUNCTION crm.f(int)",
        "SELECT ON SEQUENCE crm.s",
        "create temporary ON SCHEMA crm",
    ] {
        assert!(shown(text).is_err(), "{text}");
    }
    for text in
        ["DROP ON s.t", "EXECUTE ON PROCEDURE s.p", "SHOW VIEW ON s.t", "PROCESS ON DATABASE"]
    {
        assert!(parse(text, Engine::Postgres, "shop").is_err(), "{text}");
    }
}

fn objects(engine: Engine) -> BoxedStrategy<Object> {
    let qualified = || (names(), names()).prop_map(|(schema, name)| QualifiedName { schema, name });
    let shared = prop_oneof![
        Just(Object::Database),
        names().prop_map(Object::Schema),
        qualified().prop_map(Object::Relation),
    ];
    if engine == Engine::Mysql {
        let function = |name| Object::Function { name, arguments: "".into() };
        return prop_oneof![
            3 => shared,
            1 => qualified().prop_map(Object::Procedure),
            1 => qualified().prop_map(function),
        ]
        .boxed();
    }
    prop_oneof![
        3 => shared,
        1 => qualified().prop_map(Object::Sequence),
        1 => (qualified(), proptest::sample::select(vec!["", "integer", "text, \"a,b\"[]", "s.t"]))
            .prop_map(|(name, types)| Object::Function { name, arguments: types.into() }),
    ]
    .boxed()
}

/// Any privilege that the grammar can say of an engine.
fn privileges_of(engine: Engine) -> impl Strategy<Value = Privilege> {
    let column = move |name: Box<str>| match engine {
        Engine::Postgres => name,
        Engine::Mysql => name.to_lowercase().into(),
    };
    let item = prop_oneof![
        proptest::sample::select(Level::ALL.to_vec()).prop_map(Item::Level),
        (
            proptest::sample::select(Operation::of(engine).to_vec()),
            proptest::option::of(proptest::collection::btree_set(names().prop_map(column), 1..4))
        )
            .prop_map(|(operation, columns)| Item::Operation(operation, columns)),
    ];
    (proptest::collection::vec(item, 1..5), objects(engine)).prop_filter_map(
        "nothing fits",
        move |(items, object)| {
            let items: Vec<_> = items
                .into_iter()
                .filter(|item| match item {
                    Item::Level(level) => level.fits(&object),
                    Item::Operation(operation, columns) => {
                        operation_fits(Some(engine), *operation, &object)
                            && (columns.is_none()
                                || (operation.takes_columns()
                                    && matches!(object, Object::Relation(_))))
                    }
                })
                .collect();
            (!items.is_empty()).then(|| Privilege::new(items, object))
        },
    )
}

proptest! {
    #[test]
    fn what_is_shown_is_read_back(
        privilege in privileges_of(Engine::Postgres),
        mysql in privileges_of(Engine::Mysql),
    ) {
        for (engine, privilege) in [(Engine::Postgres, privilege), (Engine::Mysql, mysql)] {
            let shown = privilege.display(engine).to_string();
            prop_assert_eq!(parse(&shown, engine, "shop"), Ok(privilege.clone()), "{}", shown);
            prop_assert_eq!(parse_stored(&privilege.stored()), Ok(privilege));
        }
    }

    #[test]
    fn no_text_makes_the_parser_fail_otherwise_than_by_its_error(text in "\\PC*") {
        let _ = parse(&text, Engine::Postgres, "shop");
        let _ = parse_list(&text, Engine::Mysql, "shop");
        let _ = normalise_arguments(&text);
    }

    #[test]
    fn words_of_the_grammar_in_any_order_do_no_harm(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "SELECT", "READ", "(", ")", ",", "ON", "DATABASE", "SCHEMA", "FUNCTION", ".", "a", "\"", "`", ";", "[", "]",
        ]), 0..20)
    ) {
        let _ = parse_list(&words.join(" "), Engine::Postgres, "shop");
        let _ = parse_list(&words.concat(), Engine::Mysql, "shop");
    }
}

#[test]
fn what_is_used_of_a_privilege_is_the_part_that_both_have() {
    for (held, used, part) in [
        ("SELECT, DELETE ON a.t", "SELECT (x) ON a.t", Some("SELECT (x) ON a.t")),
        ("SELECT (x, y) ON a.t", "SELECT (y, z) ON a.t", Some("SELECT (y) ON a.t")),
        ("SELECT (x) ON a.t", "SELECT ON a.t", Some("SELECT (x) ON a.t")),
        ("SELECT (x) ON a.t", "SELECT (y) ON a.t", None),
        ("INSERT ON a.t", "SELECT ON a.t", None),
        ("SELECT ON a.t", "SELECT ON a.u", None),
        ("USAGE ON SEQUENCE a.s", "USAGE ON SEQUENCE a.s", Some("USAGE ON SEQUENCE a.s")),
    ] {
        let read = |text: &str| parse_stored(text).unwrap();
        let found = read(held).used_by(&read(used)).map(|part| part.to_string());
        assert_eq!(found.as_deref(), part, "{held} by {used}");
    }
}
