//! Where statements may run: by their kind, by what they call, and by what they stand on.

use std::collections::HashSet;
use std::sync::Arc;

use super::{catalog, settings};
use crate::sql::mysql::catalog::{Column, Security, Table, TableKind, View};
use crate::sql::mysql::{Flavour, ParseLimits, Scope, ServerVersion, analyse};
use crate::sql::name::QualifiedName;
use crate::sql::placement::Placement;

/// Statements of both servers, below where they run and the rule.
const BOTH: &str = "
anywhere
    SELECT a FROM t1 WHERE b = 1 ORDER BY c LIMIT 3
    (SELECT a FROM t1) UNION (SELECT d FROM t2)
    WITH w AS (SELECT a FROM t1) SELECT count(*) FROM w
    SELECT NOW(), UUID(), RAND(), SLEEP(0), BENCHMARK(1, 1), DATABASE(), CURRENT_USER()
    SELECT @@sql_mode, @@session.time_zone, @@autocommit
    SELECT d FROM v_secret
    SELECT d FROM v_invoker
    SELECT 'for update', `a` AS `get_lock` FROM t1 -- FOR UPDATE
    SELECT 1 /* INTO OUTFILE 'x' */
    EXPLAIN SELECT a FROM t1
    DESCRIBE t1
    SHOW TABLES
    SHOW FULL COLUMNS FROM t1
    SHOW CREATE TABLE t1
    SHOW DATABASES
session
    BEGIN
    START TRANSACTION READ ONLY
    COMMIT
    ROLLBACK TO x
    SET autocommit = 0
    SET NAMES utf8mb4
    SET SESSION sql_mode = 'ANSI_QUOTES'
    SET time_zone = '+01:00'
    SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED
    USE crm
    SHOW VARIABLES LIKE 'a'
    KILL QUERY 3
    CALL daypass.session()
home: only one session at one server has what the statement before it has left
    SHOW WARNINGS
    SHOW ERRORS LIMIT 1
    SHOW COUNT(*) WARNINGS
    SELECT FOUND_ROWS()
    SELECT ROW_COUNT()
    SELECT @@warning_count, @@session.error_count
home: only one session at one server has settings that are not carried along
    SET timestamp = 1
    SET sql_auto_is_null = 1
    SET sql_mode = '', insert_id = 5
home: only one session at one server has settings of its next transaction
    SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
    SET @@transaction_isolation = 'SERIALIZABLE'
primary: only one session at one server has settings that are not carried along
    SET @a = 1, insert_id = 5
primary: it locks
    SELECT a FROM t1 FOR UPDATE
    SELECT a FROM t1 LOCK IN SHARE MODE
    SELECT a FROM (SELECT a FROM t1 FOR UPDATE) AS x
    WITH w AS (SELECT a FROM t1 FOR UPDATE) SELECT a FROM w
primary: it writes
    SELECT a FROM t1 INTO OUTFILE '/tmp/x'
    INSERT INTO t1 (a) VALUES (1)
    REPLACE INTO t1 (a) VALUES (1)
    UPDATE t1 SET a = 1
    DELETE FROM t1
    CREATE TABLE x (a INT)
    EXPLAIN UPDATE t1 SET a = 1
    SET GLOBAL time_zone = '+01:00'
primary: only one session at one server has user variables
    SELECT @a
    SELECT @a := 1
    SELECT (SELECT @a := a FROM t1 LIMIT 1)
    SET @a = (SELECT 1)
primary: only one session at one server has the last inserted id
    SELECT LAST_INSERT_ID()
    SELECT a FROM t1 WHERE a = last_insert_id()
    SELECT `last_insert_id`()
primary: only one session at one server has locks by name
    SELECT GET_LOCK('a', 1)
    SELECT @a, CONNECTION_ID(), GET_LOCK('a', 1)
    INSERT INTO t1 (a) SELECT GET_LOCK('a', 1)
    SELECT IS_FREE_LOCK('a')
    SELECT a FROM t1 ORDER BY RELEASE_LOCK('a')
    SELECT /*!50000 GET_LOCK('a', 1) */
    SELECT /*! GET_LOCK('a', 1), */ 1
primary: only one session at one server has what the statement before it has left
    SELECT SQL_CALC_FOUND_ROWS a FROM t1
primary: only one session at one server has the number of its connection
    SELECT CONNECTION_ID()
primary: only one session at one server has facts of its own about itself
    SELECT @@global.read_only
    SELECT @@hostname
    SELECT @@last_insert_id
    SELECT @@identity
    SELECT UUID_SHORT()
    SELECT VERSION()
    SELECT MASTER_POS_WAIT('a', 1)
primary: it calls shop.f, which is not known to mean the same at a replica
    SELECT f()
    SELECT shop.f()
    SELECT a FROM t1 WHERE a IN (SELECT f())
primary: it calls shop.count, which is not known to mean the same at a replica
    SELECT count (1)
primary: information_schema.tables is about one server
    SELECT table_name FROM information_schema.tables
primary: information_schema.processlist is about one server
    SELECT id FROM information_schema.processlist
primary: mysql.user is about one server
    SELECT user FROM mysql.user
primary: only one session at one server has temporary tables
    SELECT * FROM scratch
    SELECT a FROM t1 JOIN scratch
primary: shop.v_opaque is a view of something that is not known to mean the same at a replica
    SELECT d FROM v_opaque
primary: shop.v_function is a view of something that is not known to mean the same at a replica
    SELECT d FROM v_function
primary: shop.v_lock is a view of something that is not known to mean the same at a replica
    SELECT d FROM v_lock
primary: shop.v_deep is a view of something that is not known to mean the same at a replica
    SELECT d FROM v_deep
primary: CALL is not known to mean the same at a replica
    CALL p()
primary: PREPARE is not known to mean the same at a replica
    PREPARE s FROM 'SELECT 1'
primary: DO is not known to mean the same at a replica
    DO 1
primary: HANDLER is not known to mean the same at a replica
    HANDLER t1 OPEN
primary: LOCK TABLES is not known to mean the same at a replica
    LOCK TABLES t1 READ
primary: XA is not known to mean the same at a replica
    XA START 'a'
primary: SHOW is not known to mean the same at a replica
    SHOW GLOBAL STATUS
    SHOW PROCESSLIST
    SHOW MASTER STATUS
    SHOW ENGINES
";

/// Of MariaDB alone.
const MARIADB: &str = "
anywhere
    VALUES (1)
primary: SELECT is not known to mean the same at a replica
    SET STATEMENT max_statement_time = 1 FOR SELECT a FROM t1
primary: PROCEDURE is not known to mean the same at a replica
    SELECT a FROM t1 PROCEDURE ANALYSE()
primary: it writes
    SELECT NEXT VALUE FOR t1
    SELECT NEXTVAL(t1)
    SELECT /*M! NEXTVAL(t1), */ 1
primary: only one session at one server has a sequence
    SELECT LASTVAL(t1)
    SELECT PREVIOUS VALUE FOR t1
";

/// Of MySQL alone.
const MYSQL: &str = "
anywhere
    TABLE t1
    VALUES ROW(1)
primary: it locks
    SELECT a FROM t1 FOR SHARE
    SELECT a FROM t1 FOR UPDATE OF t1 SKIP LOCKED
";

fn check(table: &str, flavour: Flavour) {
    let mut catalog = catalog();
    let shop = Arc::make_mut(catalog.databases.get_mut("shop").unwrap());
    for (name, query) in [
        ("v_opaque", None),
        ("v_function", Some("select `shop`.`f`() AS `d`")),
        ("v_lock", Some("select get_lock('a',1) AS `d`")),
        ("v_deep", Some("select `shop`.`v_lock`.`d` AS `d` from `shop`.`v_lock`")),
    ] {
        let view = View { security: Security::Definer, query: query.map(Into::into) };
        let columns = [Column { name: "d".into(), invisible: false }].into();
        shop.tables.insert(name.into(), Table { kind: TableKind::View(view), columns });
    }
    let mut settings = settings();
    settings.server = ServerVersion {
        flavour,
        number: if flavour == Flavour::MariaDb { 101_119 } else { 90_704 },
    };
    let temporary = HashSet::from([QualifiedName::new("shop", "scratch")]);
    let scope = Scope { catalog: &catalog, settings: &settings, temporary: &temporary };
    let (mut expected, mut failures) = ("", Vec::new());
    for line in table.lines().filter(|line| !line.is_empty()) {
        let Some(text) = line.strip_prefix("    ") else {
            expected = line;
            continue;
        };
        let found = match analyse(text.as_bytes(), &scope, &ParseLimits::default()) {
            Err(why) => format!("{why:?}"),
            Ok(analysis) => match &analysis.statements[0].placement {
                Placement::Anywhere => "anywhere".into(),
                Placement::Session => "session".into(),
                Placement::Home(rule) => format!("home: {rule}"),
                Placement::Primary(rule) => format!("primary: {rule}"),
            },
        };
        if found != expected {
            failures.push(format!("{text}\n    {expected}\n    {found}"));
        }
    }
    assert!(failures.is_empty(), "{flavour:?}\n{}", failures.join("\n"));
}

#[test]
fn statements_run_where_they_mean_the_same() {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        check(BOTH, flavour);
    }
    check(MARIADB, Flavour::MariaDb);
    check(MYSQL, Flavour::MySql);
}
