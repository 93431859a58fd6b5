//! Prepared statements and portals of a session, by name. SQL's PREPARE and DECLARE share these names
//! with the protocol's Parse and Bind (manual 54.2.3, "Extended Query").

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::audit::record::Parameter;
use crate::session::scope::{Analysed, Meaning};
use crate::session::site::{Site, Sites};
use crate::sql::access::Access;
use crate::sql::catalog::TypeId;
use crate::sql::postgres::ParseLimits;
use crate::sql::statement::{Call, Effect, NotUnderstood, Statement};

/// A prepared statement: its text, and what that meant when it was last asked.
pub(super) struct Prepared {
    /// The text of the Parse message; for SQL's PREPARE, of that statement alone.
    pub(super) text: Rc<str>,
    /// OIDs of parameter types, as Parse gave them.
    pub(super) types: Box<[u8]>,
    /// Made by SQL's PREPARE: the text is that of the PREPARE.
    pub(super) by_sql: bool,
    /// Which servers know it. None knows a call on `daypass`, nor one that was made before there was a
    /// server.
    pub(super) at: Sites<bool>,
    analysed: RefCell<(Rc<Meaning>, Arc<Analysed>)>,
    /// What it needs under earlier meanings that the server may still have it by: under the same path a
    /// relation that has come to hide another makes it look nothing up again (plancache.c,
    /// RevalidateCachedQuery).
    earlier: RefCell<Vec<Access>>,
}

impl Prepared {
    pub(super) fn new(
        (text, types): (&str, &[u8]),
        by_sql: bool,
        at: Sites<bool>,
        meaning: &Rc<Meaning>,
        analysis: &Arc<Analysed>,
    ) -> Self {
        let analysed = RefCell::new((Rc::clone(meaning), Arc::clone(analysis)));
        let earlier = RefCell::default();
        Self { text: text.into(), types: types.into(), by_sql, at, analysed, earlier }
    }

    /// What SQL's PREPARE made at a server.
    pub(super) fn by_sql(
        text: &str,
        site: Site,
        meaning: &Rc<Meaning>,
        analysis: &Arc<Analysed>,
    ) -> Self {
        Self::new((text, &[]), true, only(site), meaning, analysis)
    }

    /// The same, known to a server or not.
    pub(super) fn known(&self, site: Site, known: bool) -> Self {
        let mut at = self.at;
        at[site] = known;
        Self {
            text: Rc::clone(&self.text),
            types: self.types.clone(),
            by_sql: self.by_sql,
            at,
            analysed: RefCell::new(self.analysed.borrow().clone()),
            earlier: self.earlier.clone(),
        }
    }

    /// What the text means now.
    pub(super) fn analysis(
        &self,
        meaning: &Rc<Meaning>,
        limits: &ParseLimits,
    ) -> Result<Arc<Analysed>, NotUnderstood> {
        {
            let (known, analysis) = &*self.analysed.borrow();
            if Rc::ptr_eq(known, meaning) {
                return Ok(Arc::clone(analysis));
            }
        }
        let analysis = meaning.analyse(&self.text, &declared(&self.types), limits)?;
        self.note_earlier(meaning, &analysis);
        *self.analysed.borrow_mut() = (Rc::clone(meaning), Arc::clone(&analysis));
        Ok(analysis)
    }

    fn note_earlier(&self, meaning: &Meaning, now: &Analysed) {
        let (before, analysis) = &*self.analysed.borrow();
        let mut earlier = self.earlier.borrow_mut();
        if before.path != meaning.path {
            earlier.clear();
            return;
        }
        let accesses = |analysis: &Analysed| {
            analysis.statements.first().map(|statement| statement.accesses.clone())
        };
        let (Some(before), Some(now)) = (accesses(analysis), accesses(now)) else { return };
        for access in before.iter().filter(|access| !now.contains(access)) {
            if !earlier.contains(access) {
                earlier.push(access.clone());
            }
        }
    }

    /// What it needs beyond what its text means now.
    pub(super) fn earlier(&self) -> Vec<Access> {
        self.earlier.borrow().clone()
    }

    /// The call, when it is one on the schema `daypass`.
    pub(super) fn call(&self) -> Option<Call> {
        let (_, analysis) = &*self.analysed.borrow();
        match &analysis.statements.first()?.effect {
            Effect::Call(call) => Some(call.clone()),
            _ => None,
        }
    }
}

/// That server and no other.
pub(super) fn only(site: Site) -> Sites<bool> {
    let mut at = Sites::default();
    at[site] = true;
    at
}

/// The types that Parse declared. Drivers that leave all of them to the server send zeros, or nothing.
pub(super) fn declared(types: &[u8]) -> Vec<TypeId> {
    let numbers = types.chunks_exact(4).map(|bytes| match *bytes {
        [a, b, c, d] => u32::from_be_bytes([a, b, c, d]),
        _ => 0,
    });
    let mut declared: Vec<TypeId> = numbers.collect();
    let known = declared.iter().rposition(|id| *id != 0).map_or(0, |last| last + 1);
    declared.truncate(known);
    declared
}

/// A portal: a statement bound to values, its names resolved when it was bound. Its plan is fixed
/// from then on, so every fetch is decided by these accesses, against the grants of that moment.
pub(super) struct Portal {
    /// The text that holds the statement.
    pub(super) text: Rc<str>,
    /// What it said when it was bound.
    pub(super) analysis: Arc<Analysed>,
    /// What it needs beyond its own statement's accesses.
    pub(super) more: Rc<[Access]>,
    /// Bound values, as the audit stream records them.
    pub(super) parameters: Arc<[Parameter]>,
    /// Bound values as text, for a call on `daypass`.
    pub(super) call_values: Rc<[Option<Box<str>>]>,
    /// Outlives its transaction: a cursor WITH HOLD.
    pub(super) hold: bool,
    /// Whether the server knows it.
    pub(super) at_server: bool,
}

impl Portal {
    /// Its only statement; `None` for an empty text.
    pub(super) fn statement(&self) -> Option<&Statement> {
        self.analysis.statements.first()
    }

    /// The procedure, when it is a call on the schema `daypass`.
    pub(super) fn procedure(&self) -> Option<&str> {
        match &self.statement()?.effect {
            Effect::Call(call) => Some(&call.name),
            _ => None,
        }
    }

    /// All that it needs.
    pub(super) fn accesses(&self) -> impl Iterator<Item = &Access> + Clone {
        let own = self.statement().map_or(&[][..], |statement| &statement.accesses);
        own.iter().chain(&*self.more)
    }
}

/// The names that the server has confirmed.
#[derive(Default)]
pub(super) struct Names {
    pub(super) prepared: HashMap<Box<str>, Rc<Prepared>>,
    pub(super) portals: HashMap<Box<str>, Rc<Portal>>,
    /// Names of prepared statements that a server still has, and that stand for nothing or something else.
    pub(super) stale: Sites<HashSet<Box<str>>>,
}

impl Names {
    /// The transaction is over: portals go with it.
    pub(super) fn end_transaction(&mut self) {
        if !self.portals.is_empty() {
            self.portals.retain(|_, portal| portal.hold);
        }
    }

    /// A name of a prepared statement is free again at one server. Another that has it still does.
    pub(super) fn free(&mut self, name: &str, site: Site) {
        if let Some(known) = self.prepared.remove(name)
            && known.at[site.other()]
        {
            self.stale[site.other()].insert(name.into());
        }
    }

    /// All of them are.
    pub(super) fn free_all(&mut self, site: Site) {
        let names: Vec<_> = self.prepared.keys().cloned().collect();
        for name in names {
            self.free(&name, site);
        }
    }

    /// The connection to a server is gone, and all that it knew.
    pub(super) fn forget(&mut self, site: Site) {
        self.stale[site].clear();
        for prepared in self.prepared.values_mut().filter(|prepared| prepared.at[site]) {
            *prepared = Rc::new(prepared.known(site, false));
        }
    }

    /// DISCARD ALL.
    pub(super) fn clear(&mut self, site: Site) {
        self.free_all(site);
        self.portals.clear();
    }
}
