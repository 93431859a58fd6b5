//! A server of MySQL or MariaDB that answers by the protocol's rules, and reads and decides a second time, by itself
//! and by its own session's state, whatever it is sent.

mod replies;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use daypass::audit::record::Needs;
use daypass::grant::Grant;
use daypass::grant::decide::{Decision, decide};
use daypass::grant::snapshot::HeldGrants;
use daypass::sql::access::Access;
use daypass::sql::mysql::catalog::Catalog;
use daypass::sql::mysql::{ParseLimits, ParseSettings, Scope, analyse};
use daypass::sql::name::QualifiedName;
use daypass::sql::statement::{Analysis, Effect, NotUnderstood};
use daypass::time::Timestamp;
use daypass::wire::mysql::capability::Capabilities;
use daypass::wire::mysql::command::{Command, LAST_PREPARED, StatementId};
use daypass::wire::mysql::packet::{message, payload};

use super::catalog;

/// How the machine asks how texts are read.
const QUESTION: &str = "SELECT CAST(@@session.sql_mode AS BINARY)";

/// What takes up a KILL that came late.
const ABSORBER: &str = "DO 0";

/// A statement that reached the server.
#[derive(Debug)]
pub struct Ran {
    /// Its text.
    pub text: String,
    /// What it touches, as the server reads it.
    pub relations: BTreeSet<String>,
    /// It may touch less than what was decided, which was read in more than one way.
    pub perhaps_less: bool,
    /// The machine may have sent it on its own account.
    pub own: bool,
}

/// A text that the server keeps, and how it was read.
#[derive(Clone)]
struct Kept {
    text: Vec<u8>,
    settings: ParseSettings,
    /// Rows of its cursor that are still to be fetched.
    cursor: Option<usize>,
}

/// The server.
pub struct Server {
    capabilities: Capabilities,
    /// Tables that are there for everybody.
    pub tables: BTreeSet<(String, String)>,
    settings: ParseSettings,
    /// `sql_mode` and character set as they are called.
    names: (String, String),
    temporary: HashSet<QualifiedName>,
    /// Names may have been resolved to a temporary table.
    had_temporary: bool,
    in_transaction: bool,
    autocommit: bool,
    /// The default database was dropped by the statement at hand.
    dropped: bool,
    prepared: HashMap<StatementId, Kept>,
    last: Option<StatementId>,
    counted: StatementId,
    named: HashMap<String, Kept>,
    /// Grants that the open transaction has used.
    used: Vec<Arc<Grant>>,
    /// The beginning of a packet of the client's file.
    partial: Vec<u8>,
    waiting: VecDeque<Vec<u8>>,
    /// A KILL QUERY that has hit nothing yet.
    killed: bool,
    /// Number of the next packet of the client's file.
    file: Option<u8>,
    /// What it has said and nobody has read.
    pub out: Vec<u8>,
    choices: Vec<u8>,
    /// It has asked for another file than the one that was named.
    pub asked_otherwise: bool,
}

fn relations<'a>(accesses: impl Iterator<Item = &'a Access> + Clone) -> BTreeSet<String> {
    Needs::of(accesses).relations.iter().map(|it| it.name.to_string()).collect()
}

/// The grants of a moment.
pub struct Moment<'a> {
    /// Those that are held.
    pub held: &'a HeldGrants,
    /// All there ever were.
    pub grants: &'a [Arc<Grant>],
    /// The time.
    pub now: Timestamp,
}

impl Moment<'_> {
    fn permits<'a>(
        &self,
        accesses: impl Iterator<Item = &'a Access> + Clone,
        text: &str,
    ) -> Vec<Arc<Grant>> {
        match decide(accesses, self.held, self.now) {
            Decision::Allow(permit) => permit.grants().to_vec(),
            Decision::Deny(denial) => {
                panic!("{text:?} reaches the server without {:?}", denial.missing)
            }
        }
    }

    fn ended(&self, grant: &Grant) -> bool {
        let now = self.grants.iter().find(|it| it.id == grant.id);
        now.is_none_or(|it| it.revoked.is_some() || it.expires <= self.now)
    }
}

impl Server {
    /// A server of that kind, whose statements fail and whose variables have values by choice.
    pub fn new(capabilities: Capabilities, settings: ParseSettings, choices: &[u8]) -> Self {
        Self {
            capabilities,
            tables: catalog::tables(),
            settings,
            names: (String::new(), "utf8mb4".into()),
            temporary: HashSet::new(),
            had_temporary: false,
            in_transaction: false,
            autocommit: true,
            dropped: false,
            prepared: HashMap::new(),
            last: None,
            counted: 0,
            named: HashMap::new(),
            used: Vec::new(),
            partial: Vec::new(),
            waiting: VecDeque::new(),
            killed: false,
            file: None,
            out: Vec::new(),
            choices: choices.to_vec(),
            asked_otherwise: false,
        }
    }

    fn choice(&mut self) -> u8 {
        self.choices.pop().unwrap_or_default()
    }

    /// What client and server have agreed upon.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Whether a command waits for its answer.
    pub fn is_busy(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether it has a session to end: none between the packets of a file.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.file.is_none() && self.out.is_empty()
    }

    /// Takes bytes that were sent under the grants of that moment: what statements they hold.
    pub fn receive(&mut self, bytes: &[u8], moment: &Moment<'_>) -> Vec<Ran> {
        let received = [&std::mem::take(&mut self.partial), bytes].concat();
        let mut rest = &received[..];
        let mut ran = Vec::new();
        while !rest.is_empty() {
            let first = self.file.unwrap_or(0);
            let found = message(rest, first, usize::MAX).expect("packets in their turn");
            let Some(found) = found else {
                assert!(self.file.is_some(), "half a message reaches the server");
                break;
            };
            let body = payload(&rest[..found.total]).into_owned();
            rest = &rest[found.total..];
            if self.file.is_some() {
                self.file = Some(found.next);
                if body.is_empty() {
                    self.file = None;
                    let mut number = found.next;
                    self.say_okay(1, false, &mut number);
                    self.settle();
                }
                continue;
            }
            let idle = self.waiting.is_empty() && self.out.is_empty();
            assert!(
                idle,
                "{:?} while {:?} is under way, {:?} to be told",
                String::from_utf8_lossy(&body),
                self.waiting.front().map(|body| String::from_utf8_lossy(body)),
                self.out
            );
            ran.extend(self.judge(&body, moment));
            self.accept(body);
        }
        self.partial = rest.to_vec();
        ran
    }

    /// Keeps a command for [`Self::work`], unless it has no answer.
    fn accept(&mut self, body: Vec<u8>) {
        let command = Command::read(&body, self.capabilities).expect("a command");
        match command {
            Command::Close { statement } => {
                self.prepared.remove(&statement);
            }
            command if command.has_reply() => {
                let text = match &command {
                    Command::Query { text, .. } => String::from_utf8_lossy(text).into_owned(),
                    _ => String::new(),
                };
                assert!(!self.killed || text == ABSORBER, "a KILL would hit {command:?}");
                self.waiting.push_back(body);
            }
            _ => {}
        }
    }

    fn analyse(&self, text: &[u8], settings: &ParseSettings) -> Result<Analysis, NotUnderstood> {
        let catalog: Catalog = catalog::of(&self.tables, 0);
        let scope = Scope { catalog: &catalog, settings, temporary: &self.temporary };
        analyse(text, &scope, &ParseLimits::default())
    }

    /// What a command's statements touch; each has to be allowed at that moment.
    fn judge(&mut self, body: &[u8], moment: &Moment<'_>) -> Vec<Ran> {
        let command = Command::read(body, self.capabilities).expect("a command");
        match command {
            Command::Query { text, .. } => self.judge_text(text, moment),
            Command::InitDb { schema } => {
                let name = String::from_utf8_lossy(schema).replace('`', "``");
                self.judge_text(format!("USE `{name}`").as_bytes(), moment)
            }
            Command::FieldList { table, .. } => {
                let name = String::from_utf8_lossy(table).replace('`', "``");
                self.judge_text(format!("SHOW COLUMNS FROM `{name}`").as_bytes(), moment)
            }
            Command::ProcessInfo => self.judge_text(b"SHOW PROCESSLIST", moment),
            Command::Statistics => self.judge_text(b"SHOW STATUS", moment),
            // It is recorded, and its grants are used, when it is executed.
            Command::Prepare { text } => {
                let used = self.used.len();
                self.judge_text(text, moment);
                self.used.truncate(used);
                Vec::new()
            }
            Command::Execute { statement, .. } | Command::BulkExecute { statement, .. } => {
                self.judge_kept(self.find(statement).cloned(), moment)
            }
            Command::Fetch { statement, .. } => {
                self.judge_kept(self.find(statement).cloned(), moment)
            }
            Command::Ping
            | Command::SetOption { .. }
            | Command::ResetConnection
            | Command::SendLongData { .. }
            | Command::Close { .. }
            | Command::Reset { .. } => Vec::new(),
            other => panic!("{other:?} reaches the server"),
        }
    }

    fn find(&self, id: StatementId) -> Option<&Kept> {
        let id = if id == LAST_PREPARED { self.last? } else { id };
        self.prepared.get(&id)
    }

    fn judge_kept(&mut self, kept: Option<Kept>, moment: &Moment<'_>) -> Vec<Ran> {
        let kept = kept.expect("only what the server has prepared is executed");
        let settings = kept.settings.clone();
        let mut ran = self.judge_as(&kept.text, &settings, moment);
        ran.iter_mut().for_each(|ran| ran.perhaps_less = true);
        ran
    }

    fn judge_text(&mut self, text: &[u8], moment: &Moment<'_>) -> Vec<Ran> {
        let settings = self.settings.clone();
        self.judge_as(text, &settings, moment)
    }

    fn judge_as(&mut self, text: &[u8], settings: &ParseSettings, moment: &Moment<'_>) -> Vec<Ran> {
        let shown = String::from_utf8_lossy(text).into_owned();
        let own = shown.starts_with(QUESTION) || shown == ABSORBER;
        let ran =
            |relations, perhaps_less| Ran { text: shown.clone(), relations, perhaps_less, own };
        if own {
            return vec![ran(BTreeSet::new(), false)];
        }
        let analysis = match self.analyse(text, settings) {
            Ok(analysis) => analysis,
            // Somebody else has changed what is there: it touches nothing. How many statements it holds is not known.
            Err(NotUnderstood::Undefined { .. }) => return vec![ran(BTreeSet::new(), true)],
            Err(why) => panic!("{why:?} reaches the server: {shown}"),
        };
        let ends = matches!(&*analysis.statements, [only] if only.effect == Effect::Rollback);
        if self.in_transaction && !ends {
            let ended = self.used.iter().find(|grant| moment.ended(grant));
            assert!(ended.is_none(), "{shown} goes on in a transaction whose grant has ended");
        }
        let mut list = Vec::new();
        for statement in &analysis.statements {
            let told = matches!(statement.effect, Effect::Call(_) | Effect::Kill { .. });
            assert!(!told, "{shown} reaches the server");
            self.used.extend(moment.permits(statement.accesses.iter(), &shown));
            let mut found = relations(statement.accesses.iter());
            if let Effect::Execute(name) = &statement.effect
                && let Some(kept) = self.named.get(&name.to_lowercase()).cloned()
                && let Ok(inner) = self.analyse(&kept.text, &kept.settings)
            {
                let accesses = inner.statements.iter().flat_map(|it| it.accesses.iter());
                moment.permits(accesses.clone(), &shown);
                found.extend(relations(accesses));
            }
            list.push(ran(
                found,
                self.had_temporary || matches!(statement.effect, Effect::Execute(_)),
            ));
        }
        list
    }

    /// The statement at hand is to be killed.
    pub fn cancel(&mut self) {
        self.killed = true;
    }
}
