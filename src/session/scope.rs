//! What names mean at a moment, and the analyses that were made under that meaning.

use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use crate::audit::record::Needs;
use crate::audit::rendered::Rendered;
use crate::sql::ParseLimits;
use crate::sql::access::Accesses;
use crate::sql::catalog::{Catalog, TypeId};
use crate::sql::mysql;
use crate::sql::name::QualifiedName;
use crate::sql::postgres::{Scope, analyse};
use crate::sql::statement::{Analysis, NotUnderstood, Statement};

/// An analysis, and what the records of its statements say of their needs, written once.
#[derive(Debug)]
pub struct Analysed {
    analysis: Analysis,
    needs: Box<[Written]>,
}

/// What a record says of some accesses, once one has been made.
type Written = Arc<OnceLock<Arc<Rendered<Needs>>>>;

impl Analysed {
    /// Nothing is written yet.
    pub fn new(analysis: Analysis) -> Self {
        let needs = analysis.statements.iter().map(|_| Written::default()).collect();
        Self { analysis, needs }
    }

    /// What one of its statements needs.
    pub fn needs(&self, index: usize) -> Option<Arc<Rendered<Needs>>> {
        let statement = self.analysis.statements.get(index)?;
        let written = || Arc::new(Rendered::new(Needs::of(statement.accesses.iter())));
        Some(Arc::clone(self.needs.get(index)?.get_or_init(written)))
    }
}

impl Deref for Analysed {
    type Target = Analysis;

    fn deref(&self) -> &Analysis {
        &self.analysis
    }
}

/// How one engine finds out what a text means.
pub trait Names: Sized {
    /// What it has of a server's objects.
    type Catalog;
    /// What names hang on beside the catalog: search path, default database, settings.
    type Place: Clone + Eq + Hash;
    /// A text, as clients send it.
    type Text: AsRef<[u8]> + ?Sized;

    /// Names at a place.
    fn new(catalog: Arc<Self::Catalog>, place: Self::Place) -> Self;

    /// Whether that is the catalog in which they are looked up.
    fn are_of(&self, catalog: &Self::Catalog) -> bool;

    /// What a text says, with the types that were declared of its parameters.
    ///
    /// # Errors
    /// When it is not understood.
    fn read(
        &self,
        text: &Self::Text,
        parameters: &[TypeId],
        limits: &ParseLimits,
    ) -> Result<Analysis, NotUnderstood>;
}

/// PostgreSQL's names.
pub struct PostgresNames {
    /// The catalog.
    pub catalog: Arc<Catalog>,
    /// Schemas in the order in which the server searches them.
    pub path: Box<[Box<str>]>,
}

impl Names for PostgresNames {
    type Catalog = Catalog;
    type Place = Box<[Box<str>]>;
    type Text = str;

    fn new(catalog: Arc<Catalog>, path: Self::Place) -> Self {
        Self { catalog, path }
    }

    fn are_of(&self, catalog: &Catalog) -> bool {
        self.catalog.version == catalog.version && self.catalog.runs_as == catalog.runs_as
    }

    fn read(
        &self,
        text: &str,
        parameters: &[TypeId],
        limits: &ParseLimits,
    ) -> Result<Analysis, NotUnderstood> {
        let scope = Scope { catalog: &self.catalog, path: &self.path, parameters };
        analyse(text, &scope, limits)
    }
}

/// MySQL's names.
pub struct MysqlNames {
    /// The catalog.
    pub catalog: Arc<mysql::catalog::Catalog>,
    /// How the server reads the session's texts.
    pub settings: mysql::ParseSettings,
    /// Tables that only the session has.
    pub temporary: HashSet<QualifiedName>,
}

impl Names for MysqlNames {
    type Catalog = mysql::catalog::Catalog;
    type Place = mysql::ParseSettings;
    type Text = [u8];

    fn new(catalog: Arc<Self::Catalog>, settings: Self::Place) -> Self {
        Self { catalog, settings, temporary: HashSet::new() }
    }

    fn are_of(&self, catalog: &Self::Catalog) -> bool {
        self.catalog.version == catalog.version && self.catalog.runs_as == catalog.runs_as
    }

    fn read(
        &self,
        text: &[u8],
        _: &[TypeId],
        limits: &ParseLimits,
    ) -> Result<Analysis, NotUnderstood> {
        let Self { catalog, settings, temporary } = self;
        mysql::analyse(text, &mysql::Scope { catalog, settings, temporary }, limits)
    }
}

/// Meaning of names: a catalog, and where in it names are looked up. Sessions of one thread with the same
/// meaning share one, and with it the analyses.
pub struct Meaning<N: Names = PostgresNames> {
    names: N,
    /// Whose: one session's alone, which knows of things that others do not see.
    pub own: bool,
    analyses: RefCell<Analyses>,
    /// Statements that differ in their literals alone need the same, which is then the very same list:
    /// decided once, written once.
    accesses: RefCell<HashMap<Accesses, Written>>,
}

/// Analyses by exact text, bounded, admitted when a text is seen for the second time: a load of
/// statements that all differ must not push the others out. Never by fingerprint, which is the same
/// for statements that mean different things (pg_query's ignores schema names and literals).
#[derive(Default)]
struct Analyses {
    /// By the hash of text and types, which is made once for a text whether it is known or not.
    known: HashMap<u64, Known>,
    seen_once: Box<[u64]>,
    hasher: RandomState,
}

/// A text, the types that were declared of its parameters, and what that says.
struct Known {
    text: Box<[u8]>,
    types: Box<[TypeId]>,
    analysis: Arc<Analysed>,
}

const ANALYSES_MAX: usize = 2_048;
const SEEN_SLOTS: usize = 4_096;
const CACHED_TEXT_BYTES_MAX: usize = 16 * 1024;
const ACCESSES_MAX: usize = 1_024;

impl<N: Names> Deref for Meaning<N> {
    type Target = N;

    fn deref(&self) -> &N {
        &self.names
    }
}

impl Meaning {
    /// The meaning of names for one session alone. No other gets it from [`Meanings`], whose catalogs are
    /// told apart by versions that this one has no part in.
    pub fn own(catalog: Catalog, path: Box<[Box<str>]>) -> Rc<Self> {
        Rc::new(Self::new(PostgresNames::new(Arc::new(catalog), path), true))
    }
}

impl Meaning<MysqlNames> {
    /// The meaning of names for one session alone, which has tables of its own.
    pub fn with_temporary(names: MysqlNames) -> Rc<Self> {
        Rc::new(Self::new(names, true))
    }
}

impl<N: Names> Meaning<N> {
    fn new(names: N, own: bool) -> Self {
        Self { names, own, analyses: RefCell::default(), accesses: RefCell::default() }
    }

    /// What `text` says under this meaning, with the types that Parse declared of its parameters.
    ///
    /// # Errors
    /// When it is not understood; that is not kept.
    pub fn analyse(
        &self,
        text: &N::Text,
        parameters: &[TypeId],
        limits: &ParseLimits,
    ) -> Result<Arc<Analysed>, NotUnderstood> {
        let read = || Ok(Arc::new(self.shared(self.names.read(text, parameters, limits)?)));
        let bytes = text.as_ref();
        if bytes.len() > CACHED_TEXT_BYTES_MAX {
            return read();
        }
        let hash = self.analyses.borrow().hash(bytes, parameters);
        if let Some(known) = self.analyses.borrow().get(hash, bytes, parameters) {
            return Ok(Arc::clone(known));
        }
        let analysis = read()?;
        self.analyses.borrow_mut().offer(hash, bytes, parameters, &analysis);
        Ok(analysis)
    }

    /// The analysis with lists of accesses that others have, too.
    fn shared(&self, mut analysis: Analysis) -> Analysed {
        let mut known = self.accesses.borrow_mut();
        let share = |statement: &mut Statement| {
            if let Some((accesses, written)) = known.get_key_value(&statement.accesses) {
                statement.accesses = accesses.clone();
                return Arc::clone(written);
            }
            if known.len() >= ACCESSES_MAX {
                known.clear();
            }
            let written = Written::default();
            known.insert(statement.accesses.clone(), Arc::clone(&written));
            written
        };
        let needs = analysis.statements.iter_mut().map(share).collect();
        Analysed { analysis, needs }
    }
}

impl Analyses {
    fn hash(&self, text: &[u8], types: &[TypeId]) -> u64 {
        // Zero marks an empty slot.
        self.hasher.hash_one((text, types)) | 1
    }

    fn get(&self, hash: u64, text: &[u8], types: &[TypeId]) -> Option<&Arc<Analysed>> {
        let known = self.known.get(&hash)?;
        (*known.text == *text && *known.types == *types).then_some(&known.analysis)
    }

    fn offer(&mut self, hash: u64, text: &[u8], types: &[TypeId], analysis: &Arc<Analysed>) {
        if self.seen_once.is_empty() {
            self.seen_once = vec![0; SEEN_SLOTS].into();
        }
        let slot = usize::try_from(hash >> 32).unwrap_or(0) % SEEN_SLOTS;
        let Some(seen) = self.seen_once.get_mut(slot) else { return };
        if *seen != hash {
            *seen = hash;
            return;
        }
        if self.known.len() >= ANALYSES_MAX {
            // Rare, and whatever is still in use comes back on its second sight.
            self.known.clear();
        }
        let analysis = Arc::clone(analysis);
        self.known.insert(hash, Known { text: text.into(), types: types.into(), analysis });
    }
}

/// Database and place.
type Key<N> = (Arc<str>, <N as Names>::Place);

/// The meanings that sessions of one thread use now.
pub struct Meanings<N: Names = PostgresNames> {
    /// By database and place; one of an older catalog is replaced.
    current: HashMap<Key<N>, Rc<Meaning<N>>>,
}

impl<N: Names> Default for Meanings<N> {
    fn default() -> Self {
        Self { current: HashMap::new() }
    }
}

const MEANINGS_MAX: usize = 256;

impl<N: Names> Meanings<N> {
    /// The meaning of that catalog and place on that database.
    pub fn get(
        &mut self,
        database: &Arc<str>,
        catalog: &Arc<N::Catalog>,
        place: N::Place,
    ) -> Rc<Meaning<N>> {
        let key = (Arc::clone(database), place);
        if let Some(known) = self.current.get(&key)
            && known.are_of(catalog)
        {
            return Rc::clone(known);
        }
        if self.current.len() >= MEANINGS_MAX {
            self.current.clear();
        }
        let names = N::new(Arc::clone(catalog), key.1.clone());
        let meaning = Rc::new(Meaning::new(names, false));
        self.current.insert(key, Rc::clone(&meaning));
        meaning
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::catalog::{Function, Schema};

    const INT4: TypeId = 23;
    const TEXT: TypeId = 25;

    #[test]
    fn an_analysis_is_kept_for_the_types_that_it_was_made_with() {
        let function = |arguments: &str, input| Function {
            arguments: arguments.into(),
            inputs: [input].into(),
            ..Function::default()
        };
        let overloads = vec![function("integer", INT4), function("text", TEXT)];
        let mut public = Schema::default();
        public.functions.insert("f".into(), overloads);
        let mut catalog = Catalog::default();
        catalog.schemas.insert("public".into(), Arc::new(public));
        let meaning = Meaning::own(catalog, ["public".into()].into());
        let needs = |types: &[TypeId]| {
            let analysed = meaning.analyse("SELECT f($1)", types, &ParseLimits::default()).unwrap();
            let shown = analysed.statements[0].accesses.iter().map(ToString::to_string);
            (shown.collect::<Vec<_>>(), analysed)
        };
        for _ in 0..4 {
            assert_eq!(needs(&[INT4]).0, ["EXECUTE ON FUNCTION public.f(integer)"]);
            assert_eq!(needs(&[TEXT]).0, ["EXECUTE ON FUNCTION public.f(text)"]);
            assert_eq!(needs(&[]).0.len(), 2);
        }
        assert!(Arc::ptr_eq(&needs(&[TEXT]).1, &needs(&[TEXT]).1));
        // However many typings come, so many are kept at the most.
        let before = meaning.analyses.borrow().known.len();
        for id in 0..TypeId::try_from(ANALYSES_MAX).unwrap() + 1 {
            drop((needs(&[TEXT, id]), needs(&[TEXT, id])));
        }
        let kept = meaning.analyses.borrow().known.len();
        assert!((1..=ANALYSES_MAX).contains(&kept) && before > 0, "{before} {kept}");
    }
}
