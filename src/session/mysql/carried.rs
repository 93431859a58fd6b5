//! A session's state, as the primary tells it and a replica is told: settings that reads hang on, and the default
//! database. Texts are read the same at both then.

use crate::route::Position;
use crate::session::routing::Question;
use crate::session::site::Site;
use crate::sql::mysql::Flavour;
use crate::sql::mysql::placed::{Form, carried};
use crate::wire::mysql::packet::{HEADER_BYTES, Reader, header};

/// Values of the settings that are carried along, in their order.
type Settings = Vec<Option<Box<str>>>;

/// What the session has, and what the replica was told.
#[derive(Default)]
pub(super) struct Carried {
    now: Settings,
    schema: Option<Box<str>>,
    told: Settings,
    /// The default database of the connection to the replica.
    entered: Option<Box<str>>,
}

/// What a server has answered.
pub(super) struct Answer {
    pub(super) position: Option<Position>,
    pub(super) settings: Option<Settings>,
}

/// What a server is asked: as bytes, so that `character_set_results` does not matter.
pub(super) fn question(question: Question, site: Site, flavour: Flavour) -> String {
    let position = match (flavour, site) {
        (Flavour::MariaDb, Site::Primary) => "IF(@@GLOBAL.log_bin, @@GLOBAL.gtid_binlog_pos, NULL)",
        (Flavour::MariaDb, Site::Replica) => "@@GLOBAL.gtid_slave_pos",
        (Flavour::MySql, _) => "IF(@@GLOBAL.gtid_mode = 'ON', @@GLOBAL.gtid_executed, NULL)",
    };
    let mut text = format!("SELECT CAST({position} AS BINARY)");
    if question == Question::State {
        for (name, _) in carried(flavour) {
            text.push_str(", CAST(@@SESSION.");
            text.push_str(name);
            text.push_str(" AS BINARY)");
        }
    }
    text
}

impl Answer {
    /// Reads what has passed of an answer: the columns, then the row.
    pub(super) fn read(passed: &[u8], question: Question, flavour: Flavour) -> Self {
        let columns = match question {
            Question::Position => 1,
            Question::State => 1 + carried(flavour).count(),
        };
        let mut values = row(passed, columns).unwrap_or_default();
        let read = match flavour {
            Flavour::MariaDb => Position::mariadb,
            Flavour::MySql => Position::mysql,
        };
        let position = (!values.is_empty()).then(|| values.remove(0)).flatten();
        Self {
            position: position.and_then(|text| read(&text).ok()),
            settings: (columns > 1 && values.len() + 1 == columns).then_some(values),
        }
    }
}

fn row(passed: &[u8], columns: usize) -> Option<Settings> {
    let mut rest = passed;
    for _ in 0..columns {
        rest = rest.get(header(rest)?.total()..)?;
    }
    let length = header(rest)?.length;
    let mut body = Reader::new("row", rest.get(HEADER_BYTES..HEADER_BYTES + length)?);
    let mut values = Vec::with_capacity(columns);
    for _ in 0..columns {
        let mut ahead = body.clone();
        if ahead.byte().ok()? == 0xfb {
            body = ahead;
            values.push(None);
        } else {
            values.push(Some(body.lenenc_str().ok()?.into()));
        }
    }
    body.is_empty().then_some(values)
}

impl Carried {
    /// The primary has told the session's state: whether it is another than before, and what of it keeps the
    /// session there.
    pub(super) fn learn(
        &mut self,
        settings: Settings,
        schema: Option<&str>,
        flavour: Flavour,
    ) -> (bool, Option<Box<str>>) {
        let differs = self.now != settings || self.schema.as_deref() != schema;
        self.now = settings;
        self.schema = schema.map(Into::into);
        let mut pin = None;
        for ((name, form), value) in carried(flavour).zip(&self.now) {
            let value = value.as_deref().unwrap_or_default();
            if name.ends_with("_isolation") && value.eq_ignore_ascii_case("SERIALIZABLE") {
                pin = Some("SERIALIZABLE as its isolation level".into());
            }
            if !can_be_said(form, value) {
                pin = Some(format!("a {name} that is not carried along").into());
            }
        }
        (differs, pin)
    }

    /// What is to be said to a replica that has other settings; `None` when it has these.
    pub(super) fn lesson(&self, flavour: Flavour) -> Option<String> {
        if self.told == self.now {
            return None;
        }
        let mut parts = Vec::new();
        for (at, ((name, form), value)) in carried(flavour).zip(&self.now).enumerate() {
            if self.told.get(at) == Some(value) && !depends(name) {
                continue;
            }
            parts.push(match (form, value) {
                (_, None) => format!("{name} = NULL"),
                (Form::Number, Some(value)) => format!("{name} = {value}"),
                (Form::Text, Some(value)) => format!("{name} = '{value}'"),
            });
        }
        (!parts.is_empty()).then(|| format!("SET SESSION {}", parts.join(", SESSION ")))
    }

    /// The replica has these settings.
    pub(super) fn taught(&mut self) {
        self.told.clone_from(&self.now);
    }

    /// Whether that is the replica's default database.
    pub(super) fn is_in(&self, schema: Option<&str>) -> bool {
        self.entered.as_deref() == schema
    }

    /// The replica's default database is that.
    pub(super) fn enters(&mut self, schema: Box<str>) {
        self.entered = Some(schema);
    }

    /// A connection is new, or gone: what it was told is gone.
    pub(super) fn forget(&mut self) {
        self.told.clear();
        self.entered = None;
    }
}

/// A character set's collation is its default one once the set is told.
fn depends(name: &str) -> bool {
    matches!(name, "character_set_connection" | "collation_connection")
}

/// Whether a value is what its place in SET takes, and nothing more.
fn can_be_said(form: Form, value: &str) -> bool {
    match form {
        Form::Text => !value.contains(['\'', '\\', '"']) && value.is_ascii(),
        Form::Number => {
            let number = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            // So a switch is shown as text.
            !value.is_empty() && number || matches!(value, "ON" | "OFF")
        }
    }
}
