//! How the server reads the session's texts: its `sql_mode`, character set and default database.

use crate::session::refusal::Refusal;
use crate::sql::mysql::{CharacterSet, Flavour, ParseSettings, SqlMode};
use crate::sql::statement::{Change, Effect, Statement};
use crate::wire::mysql::capability::Status;
use crate::wire::mysql::response::{self, Okay};

/// What is asked of the server when it is not known: bytes, so that `character_set_results` does not matter.
pub(super) const QUESTION: &[u8] = b"SELECT CAST(@@session.sql_mode AS BINARY), \
    CAST(@@session.character_set_client AS BINARY), CAST(DATABASE() AS BINARY)";

/// Character sets that are not read here, but in which a text of ASCII's bytes alone is what it seems: no
/// byte below 0x80 means anything else at the start of a character.
const ASCII_COMPATIBLE: &[&str] = &[
    "big5", "cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "cp932", "eucjpms",
    "euckr", "gb18030", "gb2312", "gbk", "greek", "hebrew", "koi8r", "koi8u", "latin2", "latin5",
    "latin7", "sjis", "ujis",
];

/// What is known of it.
pub(super) struct State {
    settings: ParseSettings,
    /// Only ASCII is understood of the session's character set.
    ascii_only: bool,
    /// Why no text is understood.
    unread: Option<String>,
    /// Whether the server has to be asked before the next text is read.
    pub(super) in_doubt: bool,
}

impl State {
    /// As it is assumed before there is a server.
    pub(super) fn new(settings: ParseSettings) -> Self {
        Self { settings, ascii_only: false, unread: None, in_doubt: false }
    }

    pub(super) fn settings(&self) -> &ParseSettings {
        &self.settings
    }

    /// Whether a text can be read as the server does.
    pub(super) fn readable(&self, text: &[u8]) -> Result<(), Refusal> {
        if let Some(why) = &self.unread {
            let hint = Some("Connect anew with another setting.".into());
            return Err(Refusal::Unsupported { what: why.clone(), hint });
        }
        if self.ascii_only && !text.is_ascii() {
            return Err(Refusal::Encoding);
        }
        Ok(())
    }

    /// What the server says, when it was asked.
    pub(super) fn learn(&mut self, sql_mode: &str, character_set: &str, database: Option<&str>) {
        self.in_doubt = false;
        self.unread = None;
        match SqlMode::parse(sql_mode) {
            Some(mode) => self.settings.sql_mode = mode,
            None => self.unread = Some(format!("The sql_mode {sql_mode} is not read here.")),
        }
        self.learn_character_set(character_set);
        self.learn_database(database);
    }

    /// The server's answer was none.
    pub(super) fn learn_nothing(&mut self) {
        self.in_doubt = false;
        self.unread = Some("How the server reads this session's texts is not known.".into());
    }

    fn learn_character_set(&mut self, name: &str) {
        let lower = name.to_ascii_lowercase();
        let known = CharacterSet::parse(&lower);
        self.ascii_only = known.is_none();
        self.settings.character_set = known.unwrap_or(CharacterSet::Ascii);
        if known.is_none() && !ASCII_COMPATIBLE.contains(&lower.as_str()) {
            self.unread = Some(format!("The character set {name} is not read here."));
        }
    }

    /// Another default database, as the server writes it; whether it is another.
    pub(super) fn learn_database(&mut self, name: Option<&str>) -> bool {
        let folds = self.settings.lower_case_table_names;
        let fold = |name: &str| if folds { name.to_lowercase() } else { name.to_owned() };
        let name = name.filter(|name| !name.is_empty()).map(|name| fold(name).into());
        let before = std::mem::replace(&mut self.settings.default_database, name);
        before != self.settings.default_database
    }

    /// A statement has been done.
    pub(super) fn done(&mut self, statement: &Statement) {
        match &statement.effect {
            Effect::UseDatabase(name) => self.settings.default_database = Some(name.clone()),
            Effect::Reading { sql_mode, character_set } => {
                match sql_mode {
                    Change::Stays => (),
                    Change::Unknown => self.in_doubt = true,
                    Change::To(mode) => match SqlMode::parse(mode) {
                        Some(mode) => self.settings.sql_mode = mode,
                        None => self.in_doubt = true,
                    },
                }
                match character_set {
                    Change::Stays => (),
                    Change::Unknown => self.in_doubt = true,
                    Change::To(name) => self.learn_character_set(name),
                }
            }
            _ => (),
        }
    }

    /// What an OK or the end of rows tells; whether texts are read otherwise from now on. Flags that do not fit what
    /// is known are a reason to ask.
    pub(super) fn note(&mut self, okay: &Okay<'_>) -> bool {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let mut changed = false;
        for change in okay.changes() {
            match change {
                response::Change::Schema(name) => match text(name) {
                    Some(name) => changed |= self.learn_database(Some(name)),
                    None => self.in_doubt = true,
                },
                response::Change::Variable { name, .. }
                    if name.eq_ignore_ascii_case(b"sql_mode")
                        || name.eq_ignore_ascii_case(b"character_set_client") =>
                {
                    self.in_doubt = true;
                }
                _ => (),
            }
        }
        let mode = &self.settings.sql_mode;
        let tells_quotes = self.settings.server.flavour == Flavour::MariaDb;
        let differs = okay.status.has(Status::NO_BACKSLASH_ESCAPES) != mode.no_backslash_escapes
            || tells_quotes && okay.status.has(Status::ANSI_QUOTES) != mode.ansi_quotes
            || okay.status.has(Status::DB_DROPPED);
        if differs {
            self.in_doubt = true;
        }
        changed
    }
}
