//! What the simulated server answers, and what becomes of its session.

use daypass::sql::access::{Access, Object, Operation};
use daypass::sql::mysql::{CharacterSet, Flavour, ParseSettings, SqlMode};
use daypass::sql::statement::{Change, Class, Effect, Statement};
use daypass::wire::mysql::capability::{Capabilities, Status};
use daypass::wire::mysql::command::{Command, LAST_PREPARED, StatementId};
use daypass::wire::mysql::packet::{HEADER_BYTES, put_lenenc, put_lenenc_bytes, write as packet};
use daypass::wire::mysql::report::{Form, Report, end, okay, prepared, result};

use super::{Kept, QUESTION, Server};

impl Server {
    /// Answers the command that waits.
    pub fn work(&mut self) {
        let Some(body) = self.waiting.pop_front() else { return };
        let command = Command::read(&body, self.capabilities).expect("a command");
        let mut number = 1;
        if std::mem::take(&mut self.killed) {
            return Report::new(1317, "70100", "no").write(&mut self.out, &mut number);
        }
        match command {
            Command::Query { text, .. } => {
                if text.starts_with(QUESTION.as_bytes()) {
                    self.tell(&mut number);
                } else {
                    let settings = self.settings.clone();
                    self.run_text(text, &settings, Form::Text, &mut number);
                }
            }
            Command::InitDb { schema } => {
                let text = format!("USE `{}`", String::from_utf8_lossy(schema));
                let settings = self.settings.clone();
                self.run_text(text.as_bytes(), &settings, Form::Text, &mut number);
            }
            Command::FieldList { .. } => {
                self.say_end(self.status(), &mut number);
            }
            Command::Statistics => {
                packet(&mut self.out, &mut number, |out| out.extend_from_slice(b"Uptime: 1"));
            }
            Command::Prepare { text } => self.prepare(text, &mut number),
            Command::Execute { statement, flags, .. } => {
                self.execute(statement, flags & 1 == 1, &mut number);
            }
            Command::BulkExecute { statement, .. } => self.execute(statement, false, &mut number),
            Command::Fetch { statement, rows_max } => self.fetch(statement, rows_max, &mut number),
            Command::Reset { statement } => {
                if let Some(kept) = self.prepared.get_mut(&statement) {
                    kept.cursor = None;
                }
                self.say_okay(0, false, &mut number);
            }
            Command::ResetConnection => {
                self.reset();
                self.say_okay(0, false, &mut number);
            }
            Command::SetOption { .. } => {
                self.say_end(self.status(), &mut number);
            }
            _ => self.say_okay(0, false, &mut number),
        }
        self.settle();
    }

    /// Forgets what a transaction's end forgets.
    pub(super) fn settle(&mut self) {
        if !self.in_transaction {
            self.used.clear();
        }
    }

    fn reset(&mut self) {
        self.settings.sql_mode = SqlMode::default();
        self.settings.character_set = CharacterSet::Utf8mb4;
        self.names = (String::new(), "utf8mb4".into());
        self.temporary.clear();
        (self.in_transaction, self.autocommit) = (false, true);
        self.prepared.clear();
        self.named.clear();
        self.last = None;
    }

    fn status(&self) -> Status {
        let mode = self.settings.sql_mode;
        let mariadb = self.settings.server.flavour == Flavour::MariaDb;
        let flags = [
            (self.autocommit, Status::AUTOCOMMIT),
            (self.in_transaction, Status::IN_TRANSACTION),
            (mode.no_backslash_escapes, Status::NO_BACKSLASH_ESCAPES),
            (mode.ansi_quotes && mariadb, Status::ANSI_QUOTES),
            (self.dropped, Status::DB_DROPPED),
        ];
        let set = flags.into_iter().filter(|(set, _)| *set);
        set.fold(Status::default(), |status, (_, flag)| status.with(flag))
    }

    pub(super) fn say_okay(&mut self, affected: u64, more: bool, number: &mut u8) {
        let status = if more { self.status().with(Status::MORE_RESULTS) } else { self.status() };
        okay(&mut self.out, number, affected, status, "", self.capabilities);
    }

    fn say_end(&mut self, status: Status, number: &mut u8) {
        end(&mut self.out, number, status, self.capabilities);
    }

    /// OK, with what changed of the session.
    fn say_changed(&mut self, variable: Option<&str>, more: bool, number: &mut u8) {
        if !self.capabilities.has(Capabilities::SESSION_TRACK) {
            return self.say_okay(0, more, number);
        }
        let mut entry = Vec::new();
        let kind = if let Some(name) = variable {
            put_lenenc_bytes(&mut entry, name.as_bytes());
            put_lenenc_bytes(&mut entry, b"changed");
            0
        } else {
            let database = self.settings.default_database.as_deref().unwrap_or_default();
            put_lenenc_bytes(&mut entry, database.as_bytes());
            1
        };
        let mut changes = vec![kind];
        put_lenenc_bytes(&mut changes, &entry);
        let status = self.status().with(Status::SESSION_CHANGED);
        let status = if more { status.with(Status::MORE_RESULTS) } else { status };
        packet(&mut self.out, number, |out| {
            out.push(0);
            put_lenenc(out, 0);
            put_lenenc(out, 0);
            out.extend_from_slice(&status.0.to_le_bytes());
            out.extend_from_slice(&[0, 0, 0]);
            put_lenenc_bytes(out, &changes);
        });
    }

    /// How it reads texts.
    fn tell(&mut self, number: &mut u8) {
        let database = self.settings.default_database.as_deref().map(str::to_owned);
        let row = vec![Some(self.names.0.clone()), Some(self.names.1.clone()), database];
        let (status, capabilities) = (self.status(), self.capabilities);
        result(&mut self.out, number, &["a", "b", "c"], &[row], Form::Text, status, capabilities);
    }

    fn fail(&mut self, code: u16, state: &'static str, number: &mut u8) {
        Report::new(code, state, "no").write(&mut self.out, number);
    }

    fn run_text(&mut self, text: &[u8], settings: &ParseSettings, form: Form, number: &mut u8) {
        let Ok(analysis) = self.analyse(text, settings) else {
            return self.fail(1146, "42S02", number);
        };
        let count = analysis.statements.len();
        for (n, statement) in analysis.statements.iter().enumerate() {
            let text = String::from_utf8_lossy(&text[statement.span.clone()]).into_owned();
            if !self.run(statement, &text, (form, n + 1 < count), number) || self.file.is_some() {
                return;
            }
        }
    }

    /// Runs one statement; false when it failed.
    fn run(
        &mut self,
        statement: &Statement,
        text: &str,
        (form, more): (Form, bool),
        number: &mut u8,
    ) -> bool {
        self.dropped = false;
        let choice = self.choice();
        if choice % 8 == 1 {
            // A deadlock takes all of a transaction back.
            if choice & 8 == 8 {
                self.in_transaction = false;
            }
            // What fails may have been done all the same, or a part of it.
            if choice & 16 == 16 {
                match &statement.effect {
                    Effect::UseDatabase(name) => {
                        self.settings.default_database = Some(name.clone());
                    }
                    Effect::Reading { sql_mode, character_set } => {
                        self.read_otherwise(sql_mode, character_set, choice);
                    }
                    _ => {}
                }
            }
            self.fail(1213, "40001", number);
            return false;
        }
        if statement.changes_catalog && !matches!(statement.effect, Effect::CreateTemporary(_)) {
            self.in_transaction = false;
        }
        match &statement.effect {
            Effect::Begin(_) => self.in_transaction = true,
            Effect::Commit | Effect::Rollback => self.in_transaction = false,
            Effect::UseDatabase(name) => {
                if !self.tables.iter().any(|(database, _)| **database == **name) {
                    self.fail(1049, "42000", number);
                    return false;
                }
                self.settings.default_database = Some(name.clone());
                self.say_changed(None, more, number);
                return true;
            }
            Effect::Reading { sql_mode, character_set } => {
                let variable = self.read_otherwise(sql_mode, character_set, choice);
                self.say_changed(Some(variable), more, number);
                return true;
            }
            Effect::Set { .. } => self.set(text),
            Effect::CreateTemporary(name) => {
                self.had_temporary = true;
                if !self.temporary.insert(name.clone()) {
                    self.fail(1050, "42S01", number);
                    return false;
                }
            }
            Effect::DropTables(names) => {
                for name in names.iter() {
                    let table = (name.schema.to_string(), name.name.to_string());
                    let gone = self.temporary.remove(name)
                        || !text.contains("TEMPORARY") && self.tables.remove(&table);
                    if !gone {
                        self.fail(1051, "42S02", number);
                        return false;
                    }
                }
            }
            Effect::Prepare(name) => {
                let (text, settings) = (text.as_bytes().to_vec(), self.settings.clone());
                self.named.insert(name.to_lowercase(), Kept { text, settings, cursor: None });
            }
            Effect::Execute(name) if !self.named.contains_key(&name.to_lowercase()) => {
                self.fail(1243, "HY000", number);
                return false;
            }
            Effect::Deallocate(Some(name)) if self.named.remove(&name.to_lowercase()).is_none() => {
                self.fail(1243, "HY000", number);
                return false;
            }
            Effect::LoadLocal(name) => {
                // One in eight asks for something else.
                self.asked_otherwise = choice % 8 == 2;
                let wanted = if self.asked_otherwise { "/etc/passwd" } else { name };
                packet(&mut self.out, number, |out| {
                    out.push(0xfb);
                    out.extend_from_slice(wanted.as_bytes());
                });
                self.file = Some(*number);
                return true;
            }
            _ => {}
        }
        self.define(statement);
        self.answer(statement, choice, (form, more), number);
        true
    }

    /// What becomes of `sql_mode` and the character set: which was changed.
    fn read_otherwise(&mut self, mode: &Change, set: &Change, choice: u8) -> &'static str {
        const MODES: [&str; 4] = ["", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "STRICT_ALL_TABLES"];
        const SETS: [&str; 4] = ["utf8mb4", "latin1", "utf8mb3", "binary"];
        let kept = usize::from(choice >> 3) % 4;
        let name = |change: &Change, kept: &str| match change {
            Change::Stays => None,
            Change::To(name) => Some(name.to_string()),
            Change::Unknown => Some(kept.to_owned()),
        };
        if let Some(mode) = name(mode, MODES[kept]) {
            self.settings.sql_mode = SqlMode::parse(&mode).expect("one that is read");
            self.names.0 = mode;
        }
        if let Some(set) = name(set, SETS[kept]) {
            self.settings.character_set = CharacterSet::parse(&set).expect("one that is read");
            self.names.1 = set;
            return "character_set_client";
        }
        "sql_mode"
    }

    fn set(&mut self, text: &str) {
        let text = text.to_ascii_lowercase().replace(' ', "");
        if text.ends_with("autocommit=0") {
            self.autocommit = false;
        } else if text.ends_with("autocommit=1") {
            (self.autocommit, self.in_transaction) = (true, false);
        }
    }

    /// Tables that are made, renamed and gone, beside those of DROP TABLE.
    fn define(&mut self, statement: &Statement) {
        let on = |wanted| {
            statement.accesses.iter().filter_map(move |access| match access {
                Access::Privilege { operation, object, .. } if *operation == wanted => Some(object),
                _ => None,
            })
        };
        for object in on(Operation::Drop) {
            match object {
                Object::Relation(name) if statement.command == "RENAME TABLE" => {
                    self.tables.remove(&(name.schema.to_string(), name.name.to_string()));
                }
                Object::Schema(gone) if statement.command == "DROP DATABASE" => {
                    self.tables.retain(|(database, _)| **database != **gone);
                    if self.settings.default_database.as_ref() == Some(gone) {
                        self.settings.default_database = None;
                        self.dropped = true;
                    }
                }
                _ => {}
            }
        }
        for object in on(Operation::Create) {
            if let Object::Relation(name) = object {
                self.tables.insert((name.schema.to_string(), name.name.to_string()));
            }
        }
    }

    fn answer(
        &mut self,
        statement: &Statement,
        choice: u8,
        (form, more): (Form, bool),
        number: &mut u8,
    ) {
        let works = matches!(statement.class, Class::Read | Class::Write);
        if !self.autocommit && works {
            self.in_transaction = true;
        }
        let calls = statement.command == "CALL";
        let rows = match statement.class {
            Class::Read => 1,
            _ if calls => usize::from(choice >> 3) % 3,
            _ => 0,
        };
        for n in 0..rows {
            let last = n + 1 == rows && !calls && !more;
            let status =
                if last { self.status() } else { self.status().with(Status::MORE_RESULTS) };
            let row = vec![Some("x".to_owned())];
            let rows = vec![row; usize::from(choice >> 5)];
            result(&mut self.out, number, &["a"], &rows, form, status, self.capabilities);
        }
        if rows == 0 || calls {
            self.say_okay(1, more, number);
        }
        self.dropped = false;
    }

    fn prepare(&mut self, text: &[u8], number: &mut u8) {
        self.last = None;
        let failed = self.choice() % 8 == 1;
        if failed || self.analyse(text, &self.settings).is_err() {
            return self.fail(1146, "42S02", number);
        }
        self.counted += 1;
        let kept = Kept { text: text.to_vec(), settings: self.settings.clone(), cursor: None };
        self.prepared.insert(self.counted, kept);
        self.last = Some(self.counted);
        let count = text.iter().filter(|byte| **byte == b'?').count();
        let parameters = u16::try_from(count).unwrap_or_default();
        let (id, status, capabilities) = (self.counted, self.status(), self.capabilities);
        prepared(&mut self.out, number, id, parameters, &["a"], status, capabilities);
    }

    fn execute(&mut self, id: StatementId, cursor: bool, number: &mut u8) {
        let Some(kept) = self.find(id).cloned() else { return self.fail(1243, "HY000", number) };
        let id = if id == LAST_PREPARED { self.last.unwrap_or_default() } else { id };
        let reads = self
            .analyse(&kept.text, &kept.settings)
            .is_ok_and(|analysis| analysis.statements.iter().all(|it| it.class == Class::Read));
        if !(cursor && reads) {
            return self.run_text(&kept.text, &kept.settings, Form::Binary, number);
        }
        if let Some(kept) = self.prepared.get_mut(&id) {
            kept.cursor = Some(5);
        }
        let (status, capabilities) = (self.status().with(Status::CURSOR_EXISTS), self.capabilities);
        result(&mut self.out, number, &["a"], &[], Form::Binary, status, capabilities);
        if !capabilities.has(Capabilities::DEPRECATE_EOF) {
            // Its rows have no end yet: what ends the columns is the last.
            const EOF_BYTES: usize = HEADER_BYTES + 5;
            self.out.truncate(self.out.len() - EOF_BYTES);
        }
    }

    fn fetch(&mut self, id: StatementId, rows_max: u32, number: &mut u8) {
        let id = if id == LAST_PREPARED { self.last.unwrap_or_default() } else { id };
        let left = self.prepared.get(&id).and_then(|kept| kept.cursor);
        let Some(left) = left else { return self.fail(1421, "HY000", number) };
        let rows = left.min(usize::try_from(rows_max).unwrap_or_default());
        for _ in 0..rows {
            packet(&mut self.out, number, |out| out.extend_from_slice(b"\0\0\x01x"));
        }
        let ended = rows == left;
        if let Some(kept) = self.prepared.get_mut(&id) {
            kept.cursor = (!ended).then_some(left - rows);
        }
        let status = if ended { Status::LAST_ROW_SENT } else { Status::CURSOR_EXISTS };
        self.say_end(self.status().with(status), number);
    }

    /// Says why it goes, and that unasked.
    pub fn parts(&mut self) {
        Report::new(1053, "08S01", "Server shutdown in progress").write(&mut self.out, &mut 0);
    }
}
