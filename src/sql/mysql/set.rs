//! SET.

use super::lexer::Kind as TokenKind;
use super::parser::{Parsed, Parser, unsupported};
use super::resolve::Resolver;
use super::settings::{CharacterSet, SqlMode};
use super::statement::{Kind, UNCHANGED};
use crate::sql::access::Object;
use crate::sql::statement::{Change, Class, Effect};

/// Settings of a session that everybody may change and that change nothing for anybody else. Others are left
/// to ADMIN ON DATABASE.
const SETTINGS: &str = " autocommit auto_increment_increment auto_increment_offset big_tables \
bulk_insert_buffer_size character_set_connection character_set_results character_set_database \
collation_connection collation_database column_compression_threshold completion_type cte_max_recursion_depth \
default_week_format deadlock_search_depth_long \
div_precision_increment end_markers_in_json eq_range_index_dive_limit explicit_defaults_for_timestamp \
foreign_key_checks group_concat_max_len group_replication_consistency histogram_size \
idle_transaction_timeout idle_readonly_transaction_timeout idle_write_transaction_timeout \
information_schema_stats_expiry innodb_lock_wait_timeout innodb_strict_mode innodb_table_locks \
insert_id interactive_timeout join_buffer_size join_cache_level keep_files_on_create last_insert_id \
lc_messages lc_time_names lock_wait_timeout long_query_time low_priority_updates max_allowed_packet \
max_execution_time max_heap_table_size max_join_size max_length_for_sort_data max_recursive_iterations \
max_seeks_for_key max_sort_length max_sp_recursion_depth max_statement_time min_examined_row_limit \
mrr_buffer_size myisam_sort_buffer_size net_buffer_length net_read_timeout net_retry_count \
net_write_timeout new note_verbosity old old_mode old_alter_table optimizer_prune_level \
optimizer_search_depth optimizer_selectivity_sampling_limit optimizer_switch optimizer_trace \
optimizer_use_condition_selectivity parser_max_mem_size preload_buffer_size print_identified_with_as_hex \
profiling profiling_history_size query_alloc_block_size query_cache_type query_prealloc_size \
range_alloc_block_size range_optimizer_max_mem_size read_buffer_size read_rnd_buffer_size \
resultset_metadata select_into_buffer_size show_create_table_verbosity \
show_create_table_skip_secondary_engine show_gipk_in_create_table_and_information_schema slow_query_log \
sort_buffer_size sql_auto_is_null sql_big_selects sql_buffer_result sql_generate_invisible_primary_key \
sql_if_exists sql_notes sql_quote_show_create sql_safe_updates sql_select_limit sql_warnings \
standard_compliant_cte system_versioning_alter_history terminology_use_previous time_zone timestamp tmp_disk_table_size \
tmp_memory_table_size tmp_table_size transaction_alloc_block_size transaction_isolation \
transaction_prealloc_size transaction_read_only tx_isolation tx_read_only unique_checks \
updatable_views_with_limit use_secondary_engine use_stat_tables wait_timeout windowing_use_high_precision \
analyze_sample_percentage analyze_max_length explain_format identity rand_seed1 rand_seed2 ";

fn is_harmless(name: &str) -> bool {
    !name.contains(' ') && SETTINGS.contains(&format!(" {name} "))
}

/// What SET does, gathered.
struct Found {
    sql_mode: Change,
    character_set: Change,
    names: Vec<Box<str>>,
}

impl Parser<'_> {
    /// SET, whatever of it.
    pub(super) fn set(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        self.at += 1;
        if self.is("PASSWORD") {
            return self.everything("SET PASSWORD", Kind::role, resolver);
        }
        if self.eat("ROLE NONE") {
            // Less than before, and for the session alone.
            resolver.needs.metadata();
            return Ok(Kind::new("SET ROLE", Class::Role));
        }
        if self.is("ROLE") || self.are("DEFAULT ROLE") {
            return self.everything("SET ROLE", Kind::role, resolver);
        }
        if self.are("RESOURCE GROUP") {
            return self.everything("SET RESOURCE GROUP", Kind::ddl, resolver);
        }
        if self.mariadb() && self.eat("STATEMENT") {
            return self.set_statement(resolver);
        }
        let (sql_mode, character_set) = UNCHANGED;
        let mut found = Found { sql_mode, character_set, names: Vec::new() };
        self.list(|it| it.set_one(&mut found, resolver))?;
        let effect = if found.sql_mode != Change::Stays || found.character_set != Change::Stays {
            Effect::Reading { sql_mode: found.sql_mode, character_set: found.character_set }
        } else {
            let name = if let [name] = &*found.names { name.clone() } else { "".into() };
            Effect::Set { name }
        };
        Ok(Kind::with("SET", Class::Misc, effect))
    }

    /// `SET STATEMENT name = value, … FOR statement`
    fn set_statement(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        let (sql_mode, character_set) = UNCHANGED;
        let mut found = Found { sql_mode, character_set, names: Vec::new() };
        self.list(|it| it.set_one(&mut found, resolver))?;
        if (&found.sql_mode, &found.character_set) != (&Change::Stays, &Change::Stays) {
            return unsupported("SET STATEMENT of what changes how text is read is not read here.");
        }
        self.require("FOR")?;
        self.deeper(|it| it.statement(resolver))
    }

    fn set_one(&mut self, found: &mut Found, resolver: &mut Resolver<'_>) -> Parsed<()> {
        if self.eat_kind(TokenKind::UserVariable).is_some() {
            self.assigns()?;
            let mentions = self.mentions()?;
            return resolver.mentions(&mentions);
        }
        if self.eat("NAMES") {
            found.character_set = self.client_set()?;
            if self.eat("COLLATE") {
                self.character_set()?;
            }
            return Ok(());
        }
        if self.eat("CHARACTER SET") || self.eat("CHARSET") {
            found.character_set = self.client_set()?;
            return Ok(());
        }
        let mut global = false;
        let mut scoped = true;
        let mut name: Box<str>;
        if self.kind() == Some(TokenKind::SystemVariable) {
            let (scope, read) = self.system_variable()?;
            scoped = scope.is_some();
            global = scope.is_some_and(|it| !matches!(&*it, "session" | "local"));
            name = read;
        } else {
            if self.eat_any(&["GLOBAL", "PERSIST", "PERSIST_ONLY"]) {
                global = true;
            } else {
                scoped = self.eat_any(&["SESSION", "LOCAL"]);
            }
            if self.eat("TRANSACTION") {
                resolver.placed.sets("transaction_isolation", global, !scoped);
                if global {
                    resolver.needs.admin(Object::Database);
                }
                return self.transaction_characteristics();
            }
            // `SET transaction_isolation = …` is for the session.
            scoped = true;
            name = self.column()?;
            while self.eat_sign(b'.') {
                name = format!("{name}.{}", self.column()?).into();
            }
        }
        self.assigns()?;
        if global || !(is_harmless(&name) || matches!(&*name, "sql_mode" | "character_set_client"))
        {
            resolver.needs.admin(Object::Database);
        }
        if !global && name.starts_with("session_track") {
            return unsupported("What the server reports of the session is set by the proxy.");
        }
        match &*name {
            "sql_mode" if !global => found.sql_mode = self.mode_value(resolver)?,
            "character_set_client" if !global => found.character_set = self.client_set()?,
            _ => self.value(resolver)?,
        }
        resolver.placed.sets(&name, global, !scoped);
        found.names.push(name);
        Ok(())
    }

    fn assigns(&mut self) -> Parsed<()> {
        if self.eat_sign(b'=') || self.eat_kind(TokenKind::Assign).is_some() {
            return Ok(());
        }
        self.wrong()
    }

    fn transaction_characteristics(&mut self) -> Parsed<()> {
        loop {
            if self.eat("ISOLATION LEVEL") {
                let levels =
                    ["READ COMMITTED", "READ UNCOMMITTED", "REPEATABLE READ", "SERIALIZABLE"];
                if !self.eat_any(&levels) {
                    return self.wrong();
                }
            } else if !self.eat_any(&["READ ONLY", "READ WRITE"]) {
                return self.wrong();
            }
            if !self.eat_sign(b',') {
                return Ok(());
            }
        }
    }

    /// A word, DEFAULT, ON, or an expression.
    fn value(&mut self, resolver: &mut Resolver<'_>) -> Parsed<()> {
        let alone = self.token(1).is_none() || self.sign_at(1, b',') || self.is_at(1, "FOR");
        if self.kind() == Some(TokenKind::Word) && alone {
            self.at += 1;
            return Ok(());
        }
        let mentions = self.mentions()?;
        resolver.mentions(&mentions)
    }

    /// The value of `sql_mode`: a string or word that is understood, else the server is asked.
    fn mode_value(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Change> {
        let alone = self.token(1).is_none() || self.sign_at(1, b',');
        let literal = match self.kind() {
            Some(TokenKind::Text) if alone => Some(self.string()?),
            Some(TokenKind::Word) if alone && !self.is("DEFAULT") => {
                let word = self.word().unwrap_or_default();
                self.at += 1;
                Some(word)
            }
            _ => None,
        };
        let Some(mode) = literal else {
            self.value(resolver)?;
            return Ok(Change::Unknown);
        };
        if SqlMode::parse(&mode).is_none() {
            return unsupported(format!("The sql_mode {mode} is not read here."));
        }
        Ok(Change::To(mode.into()))
    }

    /// A character set for `character_set_client`.
    fn client_set(&mut self) -> Parsed<Change> {
        if self.eat("DEFAULT") {
            return Ok(Change::Unknown);
        }
        let name = match self.kind() {
            Some(TokenKind::Text) => self.string()?,
            Some(TokenKind::Word | TokenKind::Quoted) => {
                let token = self.token(0);
                let name = token.map(|it| self.tokens.name(it).into_owned()).unwrap_or_default();
                self.at += 1;
                name
            }
            // mysqldump puts back what it has kept in a variable.
            Some(TokenKind::UserVariable) => {
                self.at += 1;
                return Ok(Change::Unknown);
            }
            Some(TokenKind::SystemVariable) => {
                self.system_variable()?;
                return Ok(Change::Unknown);
            }
            _ => return self.wrong(),
        };
        if CharacterSet::parse(&name).is_none() {
            return unsupported(format!(
                "The character set {name} is not read here: use utf8mb4, latin1, ascii or binary."
            ));
        }
        Ok(Change::To(name.to_ascii_lowercase().into()))
    }
}
