//! Prepared statements of a session: by the server's numbers, and by SQL's names.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use crate::session::refusal::Refusal;
use crate::session::scope::{Analysed, Meaning, MysqlNames};
use crate::sql::access::Access;
use crate::sql::mysql::ParseLimits;
use crate::wire::mysql::command::{LAST_PREPARED, StatementId};
use crate::wire::mysql::value::Type;

/// A prepared statement: its text, and what that meant when it was prepared.
pub(super) struct Prepared {
    pub(super) text: Rc<[u8]>,
    /// Under which it was prepared.
    meaning: Rc<Meaning<MysqlNames>>,
    analysis: Arc<Analysed>,
    /// What it meant when it was last asked.
    asked: RefCell<Option<Asked>>,
    /// The server knows nothing of a call on `daypass`.
    pub(super) at_server: bool,
    /// Parameters that the server counted.
    pub(super) parameters: u16,
    /// Types of its last execution.
    pub(super) types: Vec<Type>,
    /// Parameters that came in pieces since.
    pub(super) long: Vec<u16>,
    /// Its cursor is open: what its rows are of.
    pub(super) cursor: Option<(Arc<Analysed>, Box<[Access]>)>,
}

/// A meaning of names, and what a text means and needs beyond that under it.
type Asked = (Rc<Meaning<MysqlNames>>, Arc<Analysed>, Vec<Access>);

impl Prepared {
    pub(super) fn new(
        text: &[u8],
        meaning: &Rc<Meaning<MysqlNames>>,
        analysis: &Arc<Analysed>,
        at_server: bool,
    ) -> Self {
        Self {
            text: text.into(),
            meaning: Rc::clone(meaning),
            analysis: Arc::clone(analysis),
            asked: RefCell::default(),
            at_server,
            parameters: 0,
            types: Vec::new(),
            long: Vec::new(),
            cursor: None,
        }
    }

    /// What its text means now, and what it needs beyond that: an unqualified name is looked up in the default
    /// database of its preparation, but quotes may be read in either way when the server reads the text again.
    pub(super) fn means(
        &self,
        now: &Rc<Meaning<MysqlNames>>,
        limits: &ParseLimits,
    ) -> Result<(Arc<Analysed>, Vec<Access>), Refusal> {
        if Rc::ptr_eq(now, &self.meaning) {
            return Ok((Arc::clone(&self.analysis), Vec::new()));
        }
        if let Some((meaning, analysis, more)) = &*self.asked.borrow()
            && Rc::ptr_eq(now, meaning)
        {
            return Ok((Arc::clone(analysis), more.clone()));
        }
        let (analysis, more) = self.read_again(now, limits)?;
        let asked = (Rc::clone(now), Arc::clone(&analysis), more.clone());
        self.asked.replace(Some(asked));
        Ok((analysis, more))
    }

    fn read_again(
        &self,
        now: &Rc<Meaning<MysqlNames>>,
        limits: &ParseLimits,
    ) -> Result<(Arc<Analysed>, Vec<Access>), Refusal> {
        let then = &self.meaning;
        let read = |settings| {
            let names = MysqlNames {
                catalog: Arc::clone(&now.catalog),
                settings,
                temporary: now.temporary.clone(),
            };
            let meaning = Meaning::with_temporary(names);
            meaning.analyse(&self.text, &[], limits).map_err(Refusal::NotUnderstood)
        };
        let analysis = if now.settings == then.settings {
            now.analyse(&self.text, &[], limits).map_err(Refusal::NotUnderstood)?
        } else {
            read(then.settings.clone())?
        };
        let mut again = then.settings.clone();
        again.sql_mode = now.settings.sql_mode;
        again.character_set = now.settings.character_set;
        let mut more = Vec::new();
        if again != then.settings {
            let other = read(again)?;
            let same = match (analysis.statements.as_slice(), other.statements.as_slice()) {
                ([a], [b]) => a.command == b.command && a.effect == b.effect,
                (a, b) => a.is_empty() && b.is_empty(),
            };
            if !same {
                let hint = Some("Prepare it again.".into());
                let what = "the statement was prepared under another sql_mode or character set";
                return Err(Refusal::Unsupported { what: what.into(), hint });
            }
            more.extend(other.statements.iter().flat_map(|it| it.accesses.iter().cloned()));
        }
        Ok((analysis, more))
    }

    /// It is executed, or set back.
    pub(super) fn begins_anew(&mut self) {
        self.long.clear();
        self.cursor = None;
    }
}

/// Numbers of what the server does not know begin here; no server counts so far in one session.
const OWN_FROM: StatementId = 0xc000_0000;

/// All of a session's.
#[derive(Default)]
pub(super) struct Names {
    /// A few, mostly, among which a number is found faster than it is hashed.
    by_id: BTreeMap<StatementId, Prepared>,
    /// SQL's PREPARE, by name in lower case: the text of that statement.
    by_name: HashMap<Box<str>, Prepared>,
    /// MariaDB: the one that was prepared last, unless that failed.
    last: Option<StatementId>,
    own: StatementId,
}

impl Names {
    pub(super) fn count(&self) -> usize {
        self.by_id.len() + self.by_name.len()
    }

    /// A number for what the server does not know.
    pub(super) fn own_id(&mut self) -> StatementId {
        self.own = (self.own + 1) & 0xf_ffff;
        OWN_FROM | self.own
    }

    /// Which number a number stands for.
    fn meant(&self, id: StatementId) -> Option<StatementId> {
        if id == LAST_PREPARED { self.last } else { Some(id) }
    }

    /// Which one a number stands for, and what that is.
    pub(super) fn find(&self, id: StatementId) -> Option<(StatementId, &Prepared)> {
        let id = self.meant(id)?;
        Some((id, self.by_id.get(&id)?))
    }

    pub(super) fn get(&self, id: StatementId) -> Option<&Prepared> {
        self.find(id).map(|(_, statement)| statement)
    }

    pub(super) fn get_mut(&mut self, id: StatementId) -> Option<&mut Prepared> {
        let id = self.meant(id)?;
        self.by_id.get_mut(&id)
    }

    pub(super) fn prepared(&mut self, id: StatementId, statement: Prepared) {
        self.by_id.insert(id, statement);
        self.last = Some(id);
    }

    /// What was prepared last is nothing.
    pub(super) fn forget_last(&mut self) {
        self.last = None;
    }

    pub(super) fn close(&mut self, id: StatementId) -> Option<Prepared> {
        let id = self.meant(id)?;
        if self.last == Some(id) {
            self.last = None;
        }
        self.by_id.remove(&id)
    }

    pub(super) fn named(&self, name: &str) -> Option<&Prepared> {
        self.by_name.get(&*name.to_lowercase())
    }

    pub(super) fn name(&mut self, name: &str, statement: Prepared) {
        self.by_name.insert(name.to_lowercase().into(), statement);
    }

    pub(super) fn unname(&mut self, name: &str) {
        self.by_name.remove(&*name.to_lowercase());
    }

    /// A routine may have given names to statements that nobody has read.
    pub(super) fn unname_all(&mut self) {
        self.by_name.clear();
    }

    pub(super) fn clear(&mut self) {
        *self = Self { own: self.own, ..Self::default() };
    }
}
