//! A session's state, as it is asked of one server and told another: settings that were made by SET and by functions,
//! whatever a transaction took back of them; and what cannot be carried along.

use std::collections::BTreeMap;

use crate::route::Position;
use crate::session::routing::Question;
use crate::session::site::{Site, Sites};
use crate::upstream::roles::action::{literal, name};

/// Settings by name.
type Settings = BTreeMap<Box<str>, Box<str>>;

/// What each server was told, and what is to be.
#[derive(Default)]
pub(super) struct Carried {
    now: Settings,
    told: Sites<Settings>,
}

/// What a server has answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    position: Option<Position>,
    pin: Option<Box<str>>,
    settings: Settings,
    /// A row was there, and none was malformed.
    sound: Option<bool>,
}

/// How far the primary's log is. A commit's record is written before its answer.
const WRITTEN: &str = "SELECT 'position', NULL, CASE WHEN pg_catalog.pg_is_in_recovery() \
     THEN pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text \
     ELSE pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text END ";

/// How far a replica has replayed. One that was promoted goes on in a log of its own, which says nothing of this one.
const REPLAYED: &str = "SELECT 'position', NULL, CASE WHEN pg_catalog.pg_is_in_recovery() \
     THEN pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text END ";

/// What is not carried along, and is there. A temporary schema outlives what was in it.
const PINS: &str = "\
 UNION ALL SELECT 'pin', 'temporary objects', NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_class \
   WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) OR EXISTS (SELECT FROM pg_catalog.pg_proc \
   WHERE pronamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) OR EXISTS (SELECT FROM pg_catalog.pg_type \
   WHERE typnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) \
 UNION ALL SELECT 'pin', 'advisory locks', NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_locks \
   WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) \
 UNION ALL SELECT 'pin', 'channels that it listens to', NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_listening_channels()) \
 UNION ALL SELECT 'pin', 'cursors WITH HOLD', NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) \
 UNION ALL SELECT 'pin', 'statements prepared by SQL', NULL \
   WHERE EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql) \
 UNION ALL SELECT 'pin', 'SERIALIZABLE as its isolation level', NULL \
   WHERE pg_catalog.current_setting('default_transaction_isolation') OPERATOR(pg_catalog.=) 'serializable' \
 UNION ALL SELECT 'set', name, setting FROM pg_catalog.pg_settings \
   WHERE source OPERATOR(pg_catalog.=) 'session' AND name NOT IN ('role', 'session_authorization', \
     'transaction_isolation', 'transaction_read_only', 'transaction_deferrable') ";

/// What a server is asked. Whatever may be set in a session is in its view of settings.
pub(super) fn question(site: Site, question: Question) -> String {
    let position = match site {
        Site::Primary => WRITTEN,
        Site::Replica => REPLAYED,
    };
    match question {
        Question::Position => position.to_owned(),
        Question::State => [position, PINS].concat(),
    }
}

impl Answer {
    /// One row more.
    pub(super) fn row(&mut self, row: &[Option<String>]) {
        let sound = match row {
            [Some(kind), None, position] if kind == "position" => {
                let read = position.as_deref().map(Position::lsn);
                let sound = !matches!(read, Some(Err(_)));
                self.position = read.and_then(Result::ok).map(Position::end_of_record);
                sound
            }
            [Some(kind), Some(what), None] if kind == "pin" => {
                self.pin.get_or_insert_with(|| what.as_str().into());
                true
            }
            [Some(kind), Some(name), value] if kind == "set" => {
                if let Some(value) = value {
                    self.settings.insert(name.as_str().into(), value.as_str().into());
                }
                true
            }
            _ => false,
        };
        self.sound = Some(sound && self.sound.unwrap_or(true));
    }

    /// The server has refused to say.
    pub(super) fn fail(&mut self) {
        self.sound = Some(false);
    }

    /// Whether it has said all of it.
    pub(super) fn is_sound(&self) -> bool {
        self.sound == Some(true)
    }

    /// How far it is.
    pub(super) fn position(&self) -> Option<Position> {
        self.position.clone().filter(|_| self.is_sound())
    }

    /// What it has that is not carried along.
    pub(super) fn pin(&self) -> Option<Box<str>> {
        self.pin.clone()
    }
}

impl Carried {
    /// A server has told the session's state; whether it is another than before.
    pub(super) fn learn(&mut self, site: Site, answer: Answer) -> bool {
        let differs = self.now != answer.settings;
        self.told[site].clone_from(&answer.settings);
        self.now = answer.settings;
        differs
    }

    /// What is to be said to a server that has another state; `None` when it has this one.
    pub(super) fn lesson(&self, site: Site) -> Option<String> {
        let told = &self.told[site];
        let mut text = String::new();
        for setting in told.keys().filter(|setting| !self.now.contains_key(*setting)) {
            let parts: Vec<_> = setting.split('.').map(name).collect();
            text.push_str("RESET ");
            text.push_str(&parts.join("."));
            text.push_str("; ");
        }
        for (setting, value) in &self.now {
            if told.get(setting) != Some(value) {
                text.push_str("SELECT pg_catalog.set_config(");
                text.push_str(&literal(setting));
                text.push_str(", ");
                text.push_str(&literal(value));
                text.push_str(", false); ");
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// A server has been told.
    pub(super) fn taught(&mut self, site: Site) {
        self.told[site] = self.now.clone();
    }

    /// A connection is new: what it was told is gone.
    pub(super) fn forget(&mut self, site: Site) {
        self.told[site].clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(settings: &[(&str, &str)]) -> Answer {
        let mut answer = Answer::default();
        answer.row(&[Some("position".into()), None, Some("0/2000018".into())]);
        for (name, value) in settings {
            answer.row(&[Some("set".into()), Some((*name).into()), Some((*value).into())]);
        }
        answer
    }

    #[test]
    fn a_server_is_told_what_differs_and_nothing_else() {
        let mut carried = Carried::default();
        assert!(carried.learn(Site::Primary, answer(&[("work_mem", "64"), ("app.who", "o'b")])));
        let lesson = carried.lesson(Site::Replica).unwrap();
        assert!(lesson.contains("set_config('app.who', 'o''b', false)"), "{lesson}");
        carried.taught(Site::Replica);
        assert_eq!(carried.lesson(Site::Replica), None);
        assert!(carried.learn(Site::Primary, answer(&[("work_mem", "65")])));
        assert_eq!(
            carried.lesson(Site::Replica).unwrap(),
            "RESET \"app\".\"who\"; SELECT pg_catalog.set_config('work_mem', '65', false); "
        );
        assert!(!carried.learn(Site::Primary, answer(&[("work_mem", "65")])));
        carried.forget(Site::Replica);
        assert!(!carried.lesson(Site::Replica).unwrap().contains("RESET"));
    }

    #[test]
    fn an_answer_is_whole_or_none() {
        let whole = answer(&[]);
        // Just behind a page's header: the last record ended at the page's start.
        assert_eq!(whole.position(), Some(Position::Lsn(0x200_0000)));
        let mut broken = answer(&[]);
        broken.row(&[Some("pin".into())]);
        assert!(!broken.is_sound() && broken.position().is_none());
        let mut refused = Answer::default();
        refused.fail();
        assert!(!refused.is_sound() && !Answer::default().is_sound());
    }
}
