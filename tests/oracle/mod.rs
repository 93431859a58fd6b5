//! The server as oracle, for the tests that ask it: one of its own, the product's catalog of it, and grants
//! that cover an access as narrowly as the server allows.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use daypass::sql::access::{Access, Columns, Object};
use daypass::sql::catalog::{Catalog, RelationKind, Routine};
use daypass::sql::name::Quoted;
use daypass::upstream::{Catalogs, Target};
use tokio_postgres::Client;

/// A server; it ends with the value.
pub struct Server {
    /// Where its socket is.
    pub folder: tempfile::TempDir,
    binaries: PathBuf,
}

/// A command that runs as an ordinary user, which the server insists on.
fn ordinary(program: &Path) -> Command {
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    if root {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

impl Server {
    /// Starts one; `DAYPASS_PG_BIN` names another's binaries.
    pub fn start() -> Option<Self> {
        let binaries = std::env::var_os("DAYPASS_PG_BIN").map(PathBuf::from).or_else(|| {
            let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
            versions.filter_map(Result::ok).map(|entry| entry.path().join("bin")).max()
        })?;
        let folder = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let server = Self { folder, binaries };
        let data = server.folder.path().join("data");
        let made = ordinary(&server.binaries.join("initdb"))
            .args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        if !made.is_ok_and(|status| status.success()) {
            return None;
        }
        let options =
            format!("-c listen_addresses= -c fsync=off -k {}", server.folder.path().display());
        let started = ordinary(&server.binaries.join("pg_ctl"))
            .args(["-w", "-o", &options, "-l"])
            .arg(server.folder.path().join("log"))
            .arg("-D")
            .arg(&data)
            .arg("start")
            .stdout(Stdio::null())
            .status();
        started.is_ok_and(|status| status.success()).then_some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = ordinary(&self.binaries.join("pg_ctl"))
            .args(["-m", "immediate", "-D"])
            .arg(self.folder.path().join("data"))
            .arg("stop")
            .stdout(Stdio::null())
            .status();
        assert!(stopped.is_ok(), "the server was not stopped");
    }
}

/// The names of a database, as the product keeps them: for an account that bypasses no row security.
pub fn catalogs(server: &Server, database: &str) -> Catalogs {
    let url = format!("postgres://loader@/{database}?host={}", server.folder.path().display());
    let target = Target::parse(&url, server.folder.path()).unwrap();
    Catalogs::spawn(target, Duration::from_hours(1))
}

/// The catalog as the product loads it, and the path of a session.
pub async fn load(catalogs: &Catalogs, client: &Client) -> (Arc<Catalog>, Vec<Box<str>>) {
    // What bodies do the server checks of the role that it is asked as, as with a second lock.
    let catalog = Arc::new(catalogs.refresh().await.unwrap().for_own_roles());
    let row = client.query_one("select current_schemas(true)::text[]", &[]).await.unwrap();
    let path = row.get::<_, Vec<String>>(0).into_iter().map(Box::from).collect();
    (catalog, path)
}

/// Has the role own a schema and all in it, which is what ADMIN on a schema stands for.
const OWN_SCHEMA: &str = "do $$ declare thing text; begin
    for thing in select 'schema ' || oid::regnamespace from pg_namespace where nspname = '{schema}'
        union all select 'type ' || oid::regtype from pg_type
            where typnamespace = '{schema}'::regnamespace and typrelid = 0 and typelem = 0
        union all select 'statistics {schema}.' || quote_ident(stxname) from pg_statistic_ext
            where stxnamespace = '{schema}'::regnamespace
        union all select 'table ' || oid::regclass from pg_class
            where relnamespace = '{schema}'::regnamespace and relkind in ('r', 'p', 'v', 'm')
    loop execute 'alter ' || thing || ' owner to probe'; end loop; end $$;";

/// How the role is made to own an object. The database it cannot be given.
fn own(object: &Object, catalog: &Catalog) -> Option<String> {
    let (kind, name) = match object {
        Object::Relation(name) => {
            let kind = match catalog.relation(&name.schema, &name.name)?.kind {
                RelationKind::View => "view",
                RelationKind::MaterializedView => "materialized view",
                RelationKind::Composite => "type",
                _ => "table",
            };
            (kind, name.to_string())
        }
        Object::Sequence(name) => ("sequence", name.to_string()),
        Object::Schema(name) => return Some(OWN_SCHEMA.replace("{schema}", name)),
        Object::Function { .. } | Object::Procedure(_) | Object::Database => return None,
    };
    Some(format!("alter {kind} {name} owner to probe;{}", usage(object)))
}

/// Grants that cover an access as narrowly as the server allows, without the column `except`.
pub fn grant(access: &Access, except: Option<&str>, catalog: &Catalog) -> Option<String> {
    let (operation, object, columns) = match access {
        Access::Metadata => return Some(String::new()),
        Access::Admin(object) => return own(object, catalog),
        // MySQL's.
        Access::Anything(_) | Access::OneOf { .. } => return None,
        Access::OwnedSequence { operation, sequence, .. } => {
            return Some(format!("grant {} on sequence {sequence} to probe;", operation.keyword()));
        }
        Access::Privilege { operation, object, columns } => (operation, object, columns),
    };
    let word = operation.keyword();
    Some(
        match (object, columns) {
            (Object::Relation(name), Columns::Named(columns)) => {
                let kept = columns.iter().filter(|column| Some(&***column) != except);
                let list: Vec<String> = kept.map(|column| Quoted(column).to_string()).collect();
                if list.is_empty() {
                    return Some(String::new());
                }
                format!("grant {word} ({}) on {name} to probe;", list.join(", "))
            }
            (Object::Relation(name), Columns::Any) => {
                match catalog.relation(&name.schema, &name.name)?.columns.last() {
                    Some(column) => {
                        format!("grant {word} ({}) on {name} to probe;", Quoted(column))
                    }
                    None => format!("grant {word} on {name} to probe;"),
                }
            }
            (Object::Relation(name), Columns::Whole) => format!("grant {word} on {name} to probe;"),
            (Object::Sequence(name), _) => format!("grant {word} on sequence {name} to probe;"),
            (Object::Schema(name), _) => {
                format!("grant {word} on schema {} to probe;", Quoted(name))
            }
            (Object::Function { name, arguments }, _) => {
                format!("grant execute on function {name}({arguments}) to probe;")
            }
            (Object::Database, _) => format!("grant {word} on database postgres to probe;"),
            (Object::Procedure(_), _) => return None,
        } + &usage(object),
    )
}

/// A privilege on something in a schema comes with USAGE of the schema.
fn usage(object: &Object) -> String {
    match object {
        Object::Relation(_) | Object::Sequence(_) | Object::Function { .. } => {
            let schema = object.schema().unwrap_or_default();
            format!("grant usage on schema {} to probe;", Quoted(schema))
        }
        Object::Database | Object::Schema(_) | Object::Procedure(_) => String::new(),
    }
}

/// Whether the analysis asks for more than the server on purpose: EXECUTE of a function that PUBLIC may
/// execute, which is of those that need it in the grant.
pub fn stricter(access: &Access, catalog: &Catalog) -> bool {
    let Access::Privilege { object: Object::Function { name, arguments }, .. } = access else {
        return false;
    };
    let routine = Routine { name: name.clone(), arguments: arguments.clone() };
    catalog.routine(&routine).is_some_and(|function| function.public)
}

/// Has the server explain a statement, as that role when one is given; answers with the SQLSTATE, empty when
/// all went well. `how` is EXPLAIN with its options.
pub async fn ask(
    client: &Client,
    how: &str,
    grants: &str,
    text: &str,
    role: Option<&str>,
) -> (String, String) {
    let role = role.map_or_else(String::new, |role| format!("set local role {role};"));
    let begun = client.batch_execute(&format!("begin; {grants} {role}")).await;
    if let Err(error) = begun {
        drop(client.batch_execute("rollback").await);
        return ("?".into(), error.to_string());
    }
    let result = client.simple_query(&format!("{how} {text}")).await;
    client.batch_execute("rollback").await.unwrap();
    match result {
        Ok(_) => Default::default(),
        Err(error) => {
            let message = error.as_db_error().map_or_else(String::new, |e| e.message().into());
            (error.code().map_or("?", |code| code.code()).into(), message)
        }
    }
}
