//! Loading the names of a MySQL or MariaDB server, and what it sets for every session.
//!
//! Neither server tells for less than a load whether anything has changed: `create_time` has whole seconds, leaves
//! out views and routines, and on MariaDB opens every table. So each look loads, without sorting and without the
//! columns of `information_schema` that open tables: about a second with 20 000 tables of ten columns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use super::client::{self, Row};
use super::connect::{Connection, connect};
use super::login::Startup;
use super::place;
use super::target::Target;
use crate::route::Position;
use crate::sql::mysql::catalog::{
    Catalog, Column, Database, Routine, Security, Table, TableKind, View,
};
use crate::sql::mysql::{CharacterSet, Flavour, ParseSettings, ServerVersion, SqlMode};
use crate::upstream::catalogs::{CHECK_MAX, Kept, Source};
use crate::upstream::client::Bounds;
use crate::upstream::connect::within;
use crate::upstream::error::UpstreamError;
use crate::wire::mysql::command;
use crate::wire::mysql::login::Mirror;

/// What the server may have set for every session must not cut our results short, nor change how they are written.
const SESSION: &str = "SET NAMES utf8mb4, SESSION sql_mode = '', \
    SESSION sql_select_limit = 18446744073709551615";

/// Columns that the server adds to tables without a key are shown, and no statement has a time limit.
const MYSQL_SESSION: &str = "SET SESSION max_execution_time = 0 \
    /*!80030 , SESSION show_gipk_in_create_table_and_information_schema = ON */";

const MARIADB_SESSION: &str = "SET SESSION max_statement_time = 0";

/// What holds for every session until it sets something itself.
const FACTS: &str = "SELECT @@GLOBAL.lower_case_table_names, @@GLOBAL.sql_mode, \
    @@GLOBAL.character_set_client";

/// Oldest servers whose `information_schema` is as the statements expect.
const MARIADB_MIN: u32 = 100_600;
const MYSQL_MIN: u32 = 80_000;

const DATABASES: &str = "SELECT schema_name FROM information_schema.schemata";

const TABLES: &str = "SELECT table_schema, table_name, table_type FROM information_schema.tables";

const VIEWS: &str =
    "SELECT table_schema, table_name, security_type, view_definition FROM information_schema.views";

/// In no order: the servers would write the result to a file first.
const COLUMNS: &str = "SELECT table_schema, table_name, ordinal_position, column_name, extra \
    FROM information_schema.columns";

const ROUTINES: &str = "SELECT routine_schema, routine_name, routine_type, security_type \
    FROM information_schema.routines";

const TRIGGERS: &str = "SELECT trigger_schema, trigger_name, event_object_table \
    FROM information_schema.triggers";

const LOADABLE: &str = "SELECT name FROM mysql.func";

/// Those that components bring, too.
const MYSQL_LOADABLE: &str = "SELECT udf_name FROM performance_schema.user_defined_functions";

/// Databases whose names have no case.
const SYSTEM: [&str; 4] = ["information_schema", "performance_schema", "mysql", "sys"];

/// What a server says of itself at login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which server, and its version.
    pub server: ServerVersion,
    /// What clients are to see of it.
    pub mirror: Mirror,
    /// `lower_case_table_names` is not 0: names of databases and tables are compared in lower case.
    pub lower_case_table_names: bool,
    /// What sessions begin with; `None` when it has a mode that is not read here.
    pub sql_mode: Option<SqlMode>,
    /// Of clients that ask for none; `None` for one that is not read here.
    pub character_set: Option<CharacterSet>,
}

impl Facts {
    /// How a new session's texts are read, as far as can be said before it has one.
    pub fn settings(&self, default_database: Option<&str>) -> ParseSettings {
        let folds = self.lower_case_table_names;
        let fold = |name: &str| if folds { name.to_lowercase() } else { name.to_owned() };
        ParseSettings {
            server: self.server,
            sql_mode: self.sql_mode.unwrap_or_default(),
            character_set: CharacterSet::Utf8mb4,
            default_database: default_database.map(|name| fold(name).into()),
            lower_case_table_names: folds,
        }
    }
}

impl Kept for Catalog {
    fn version(&self) -> u64 {
        self.version
    }

    fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    fn same_content(&self, other: &Self) -> bool {
        Self::same_content(self, other)
    }
}

/// A connection that looks.
#[derive(Debug)]
pub struct Watching {
    connection: Connection,
    flavour: Flavour,
    /// Names of databases and tables are kept in lower case.
    folds: bool,
}

impl Source for Target {
    type Catalog = Catalog;
    type Connection = Watching;
    type Facts = Facts;

    fn place(&self) -> String {
        self.host.to_string()
    }

    fn has_names_of(&self, other: &Self) -> bool {
        self.has_names_of(other)
    }

    fn forget_authorities(&self) {
        self.forget_authorities();
    }

    async fn open(&self) -> Result<(Watching, Facts), UpstreamError> {
        // What an account may do in its default schema is what it could when it entered that.
        let target = self.clone().with_schema(None);
        let mut connection = connect(&target, &Startup::default()).await?;
        let settings = set_up(&mut connection);
        let facts = within(CHECK_MAX, "setting up the service connection", settings).await?;
        let (flavour, folds) = (facts.server.flavour, facts.lower_case_table_names);
        Ok((Watching { connection, flavour, folds }, facts))
    }

    async fn changed(_: &mut Watching) -> Result<bool, UpstreamError> {
        Ok(true)
    }

    async fn load(
        watching: &mut Watching,
        _known: Option<&Catalog>,
    ) -> Result<Catalog, UpstreamError> {
        let mut loading = Loading { folds: watching.folds, ..Loading::default() };
        let mut parts: Vec<(&str, Take)> = vec![
            (DATABASES, Loading::database),
            (TABLES, Loading::table),
            (VIEWS, Loading::view),
            (COLUMNS, Loading::column),
            (ROUTINES, Loading::routine),
            (TRIGGERS, Loading::trigger),
            (LOADABLE, Loading::loadable),
        ];
        if watching.flavour == Flavour::MySql {
            parts.push((MYSQL_LOADABLE, Loading::loadable));
        }
        for (sql, take) in parts {
            let take = |row: Row<'_>| take(&mut loading, row);
            client::each_row(&mut watching.connection, sql, Bounds::default(), take).await?;
        }
        Ok(loading.finish())
    }

    async fn position(watching: &mut Watching) -> Result<Option<Position>, UpstreamError> {
        place::position(&mut watching.connection).await
    }

    async fn leave(mut watching: Watching) {
        let mut goodbye = Vec::new();
        command::quit(&mut goodbye);
        let _ = watching.connection.stream.write_all(&goodbye).await;
    }
}

async fn set_up(connection: &mut Connection) -> Result<Facts, UpstreamError> {
    let (flavour, least) = if connection.greeting.is_mariadb() {
        (Flavour::MariaDb, MARIADB_MIN)
    } else {
        (Flavour::MySql, MYSQL_MIN)
    };
    let number = connection.greeting.version_number();
    if number < least {
        return Err(UpstreamError::MysqlTooOld(connection.greeting.version.as_str().into()));
    }
    client::query(connection, SESSION).await?;
    let own = match flavour {
        Flavour::MariaDb => MARIADB_SESSION,
        Flavour::MySql => MYSQL_SESSION,
    };
    client::query(connection, own).await?;
    let mirror = Mirror::of(&connection.greeting);
    let mut facts = None;
    client::each_row(connection, FACTS, Bounds::default(), |mut row| {
        facts = Some(Facts {
            server: ServerVersion { flavour, number },
            mirror: mirror.clone(),
            lower_case_table_names: row.text()? != "0",
            sql_mode: SqlMode::parse(row.text()?),
            character_set: CharacterSet::parse(row.text()?),
        });
        Ok(())
    })
    .await?;
    facts.ok_or_else(|| UpstreamError::Catalog("no settings".to_owned()))
}

/// Takes the rows of one statement.
type Take = fn(&mut Loading, Row<'_>) -> Result<(), UpstreamError>;

/// Of one database.
type ColumnsByTable = HashMap<Box<str>, Vec<(u32, Column)>>;

/// A catalog while its rows arrive.
#[derive(Default)]
struct Loading {
    folds: bool,
    databases: HashMap<Box<str>, Database>,
    /// Columns with their places, by database and table; they come in no order.
    columns: HashMap<Box<str>, ColumnsByTable>,
    loadable: HashSet<Box<str>>,
}

impl Loading {
    fn database(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let name = self.schema(row.text()?);
        self.databases.entry(name).or_default();
        Ok(())
    }

    fn table(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (schema, name) = self.name(&mut row)?;
        let kind = match row.text()? {
            // Whose definition has not come is not read through.
            "VIEW" => TableKind::View(View { security: Security::Invoker, query: None }),
            _ => TableKind::Base,
        };
        let tables = &mut self.databases.entry(schema).or_default().tables;
        tables.insert(name, Table { kind, columns: Vec::new() });
        Ok(())
    }

    fn view(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (schema, name) = self.name(&mut row)?;
        let security = security(row.text()?)?;
        // Without the privilege to see it, it is empty.
        let query = row.value()?.filter(|it| !it.is_empty()).map(Into::into);
        // One that has come since the tables were read is there at the next look.
        let database = self.databases.get_mut(&schema);
        if let Some(table) = database.and_then(|it| it.tables.get_mut(&name)) {
            table.kind = TableKind::View(View { security, query });
        }
        Ok(())
    }

    fn column(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (schema, name) = self.name(&mut row)?;
        let place = row.text()?;
        let place = place
            .parse()
            .map_err(|_| UpstreamError::Catalog(format!("column number {place:?}")))?;
        let column = row.text()?.to_lowercase().into();
        let extra = row.value()?.unwrap_or_default();
        let invisible = extra.split([',', ' ']).any(|word| word == "INVISIBLE");
        let tables = match self.columns.get_mut(&schema) {
            Some(tables) => tables,
            None => self.columns.entry(schema).or_default(),
        };
        tables.entry(name).or_default().push((place, Column { name: column, invisible }));
        Ok(())
    }

    fn routine(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let schema = self.schema(row.text()?);
        let name = row.text()?.to_lowercase().into();
        let kind = row.text()?;
        let routine = Routine { security: security(row.text()?)? };
        let database = self.databases.entry(schema).or_default();
        match kind {
            "FUNCTION" => drop(database.functions.insert(name, routine)),
            "PROCEDURE" => drop(database.procedures.insert(name, routine)),
            // MariaDB's packages: what is in them has three names, which no statement understood here has.
            _ => {}
        }
        Ok(())
    }

    fn trigger(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let schema = self.schema(row.text()?);
        let name = self.fold(row.text()?);
        let table = self.fold(row.text()?);
        self.databases.entry(schema).or_default().triggers.insert(name, table);
        Ok(())
    }

    fn loadable(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        self.loadable.insert(row.text()?.to_lowercase().into());
        Ok(())
    }

    fn name(&self, row: &mut Row<'_>) -> Result<(Box<str>, Box<str>), UpstreamError> {
        let schema = self.schema(row.text()?);
        let name = row.text()?;
        if SYSTEM.contains(&&*schema) {
            return Ok((schema, name.to_ascii_lowercase().into()));
        }
        Ok((schema, self.fold(name)))
    }

    fn schema(&self, name: &str) -> Box<str> {
        match SYSTEM.into_iter().find(|it| name.eq_ignore_ascii_case(it)) {
            Some(system) => system.into(),
            None => self.fold(name),
        }
    }

    fn fold(&self, name: &str) -> Box<str> {
        if self.folds { name.to_lowercase().into() } else { name.into() }
    }

    /// The catalog, once every part has come.
    fn finish(mut self) -> Catalog {
        for (schema, tables) in self.columns {
            let Some(database) = self.databases.get_mut(&schema) else { continue };
            for (name, mut columns) in tables {
                let Some(table) = database.tables.get_mut(&name) else { continue };
                columns.sort_unstable_by_key(|(place, _)| *place);
                table.columns = columns.into_iter().map(|(_, column)| column).collect();
            }
        }
        let databases = self.databases.into_iter().map(|(name, it)| (name, Arc::new(it))).collect();
        Catalog { databases, loadable: self.loadable, ..Catalog::default() }
    }
}

fn security(text: &str) -> Result<Security, UpstreamError> {
    match text {
        "DEFINER" => Ok(Security::Definer),
        "INVOKER" => Ok(Security::Invoker),
        other => Err(UpstreamError::Catalog(format!("security {other:?}"))),
    }
}
