//! A session whose client is the test: texts and prepared statements, at the server or at the proxy.

use std::rc::Rc;

use bytes::Buf;
use daypass::upstream::mysql::{Connection, Startup, Target, connect, query};
use daypass::wire::mysql::capability::Capabilities;
use daypass::wire::mysql::command;
use daypass::wire::mysql::packet::{self, Violation};
use daypass::wire::mysql::reply::{Event, Expect, Reply, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

/// COM_STMT_PREPARE, COM_STMT_EXECUTE, COM_STMT_CLOSE and COM_RESET_CONNECTION.
const PREPARE: u8 = 0x16;
const EXECUTE: u8 = 0x17;
const CLOSE: u8 = 0x19;
const RESET: u8 = 0x1f;

/// The type of a parameter that is NULL.
const NULL: [u8; 2] = [6, 0];

/// How a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub code: u16,
    pub message: String,
}

/// A session.
pub struct Session {
    runtime: Rc<Runtime>,
    connection: Connection,
    /// The other end has closed it.
    ended: bool,
    /// Rows say what is refused.
    upkeeps: bool,
}

/// What the servers say in a row instead of an error, of CHECK TABLE and its like.
const REFUSED_IN_ROWS: [(&[u8], u16); 2] =
    [(b"command denied to user", 1142), (b"definer/invoker of view lack rights to use them", 1356)];

/// What a reply said.
#[derive(Default)]
struct Said {
    failed: Option<Failed>,
    rows: Vec<u8>,
    /// Number and count of parameters.
    prepared: Option<(u32, u16)>,
}

impl Session {
    /// Logs in. It takes several results, and gives an empty file to whoever asks for one.
    pub fn open(runtime: &Rc<Runtime>, target: &Target) -> Self {
        let startup = Startup::default();
        let capabilities = startup.capabilities
            | Capabilities::MULTI_STATEMENTS
            | Capabilities::MULTI_RESULTS
            | Capabilities::PS_MULTI_RESULTS
            | Capabilities::LOCAL_FILES;
        let startup = Startup { capabilities, ..startup };
        let connection = runtime.block_on(connect(target, &startup)).unwrap();
        Self { runtime: Rc::clone(runtime), connection, ended: false, upkeeps: false }
    }

    /// Whether the other end has closed it.
    pub fn is_over(&self) -> bool {
        self.ended
    }

    /// Runs a text.
    pub fn query(&mut self, text: &str) -> Result<(), Failed> {
        let mut out = Vec::new();
        command::query(&mut out, text.as_bytes(), self.connection.capabilities);
        self.exchange(&out, Expect::Results).failed.map_or(Ok(()), Err)
    }

    /// Runs what answers with a row instead of an error, as a text or prepared.
    pub fn upkeep(&mut self, text: &str, prepared: bool) -> Result<(), Failed> {
        self.upkeeps = true;
        let result = if prepared { self.prepared(text) } else { self.query(text) };
        self.upkeeps = false;
        result
    }

    /// The rows of a text, or what is said instead.
    pub fn rows(&mut self, text: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        let rows = self.runtime.block_on(query(&mut self.connection, text));
        rows.map_err(|error| error.to_string())
    }

    /// Prepares a statement, and runs it once with NULL for every parameter.
    pub fn prepared(&mut self, text: &str) -> Result<(), Failed> {
        let mut out = Vec::new();
        command::write(&mut out, PREPARE, text.as_bytes());
        let said = self.exchange(&out, Expect::Prepared);
        if let Some(failed) = said.failed {
            return Err(failed);
        }
        let Some((number, parameters)) = said.prepared else {
            // MySQL answers so where it refuses to prepare SET GLOBAL.
            let message = "an OK, and nothing is prepared".to_owned();
            return Err(Failed { code: 0, message });
        };
        let mut body = number.to_le_bytes().to_vec();
        body.extend([0, 1, 0, 0, 0]);
        if parameters > 0 {
            body.extend(vec![0xff; usize::from(parameters).div_ceil(8)]);
            body.push(1);
            body.extend(NULL.repeat(usize::from(parameters)));
        }
        let (mut out, mut close) = (Vec::new(), Vec::new());
        command::write(&mut out, EXECUTE, &body);
        let said = self.exchange(&out, Expect::Results);
        command::write(&mut close, CLOSE, &number.to_le_bytes());
        // Of no more use where the session has ended, which its next command sees.
        let _ = self.runtime.block_on(self.connection.stream.write_all(&close));
        said.failed.map_or(Ok(()), Err)
    }

    /// Lets go of all that it holds at the server.
    pub fn reset(&mut self) {
        if self.ended {
            return;
        }
        let mut out = Vec::new();
        command::write(&mut out, RESET, b"");
        // Where the server has ended the session, the proxy says so now: nothing is held any more.
        self.exchange(&out, Expect::Okay);
    }

    fn exchange(&mut self, command: &[u8], expect: Expect) -> Said {
        let Self { runtime, connection, ended, upkeeps } = self;
        let Connection { stream, buffer, capabilities, .. } = connection;
        let mut reply = Reply::new(expect, *capabilities, 1);
        let mut said = Said::default();
        runtime.block_on(async {
            // A session that is ended is seen below.
            let _ = stream.write_all(command).await;
            while !reply.is_over() {
                let step = match reply.advance(buffer) {
                    Ok(step) => step,
                    // A last word, which answers nothing.
                    Err(Violation::Sequence { found: 0, .. }) => {
                        said.end(ended);
                        break;
                    }
                    Err(violation) => panic!("{violation}"),
                };
                let (taken, file) = match step {
                    Step::Read => (0, false),
                    Step::Pass(bytes) => (bytes, false),
                    Step::Packet { bytes, event } => (bytes, said.take(&event)),
                };
                if *upkeeps {
                    said.rows.extend(&buffer[..taken]);
                }
                buffer.advance(taken);
                if file {
                    let (mut out, mut sequence) = (Vec::new(), reply.sequence());
                    packet::write(&mut out, &mut sequence, |_| ());
                    stream.write_all(&out).await.unwrap();
                    reply.file_sent(sequence);
                }
                if taken == 0 && stream.read_buf(buffer).await.unwrap_or(0) == 0 {
                    said.end(ended);
                    break;
                }
            }
        });
        said.refused_in_rows();
        said
    }
}

impl Said {
    fn refused_in_rows(&mut self) {
        for (sentence, code) in REFUSED_IN_ROWS {
            if self.rows.windows(sentence.len()).any(|it| it == sentence) {
                let message = format!("a row says: {}", String::from_utf8_lossy(sentence));
                self.failed.get_or_insert(Failed { code, message });
            }
        }
    }

    fn end(&mut self, ended: &mut bool) {
        let failed = || Failed { code: 0, message: "the session was ended".to_owned() };
        self.failed.get_or_insert_with(failed);
        *ended = true;
    }

    /// Whether a file is due.
    fn take(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Failure(failure) => {
                self.failed = Some(Failed { code: failure.code, message: failure.sentence() });
            }
            Event::Prepared { statement, parameters, .. } => {
                self.prepared = Some((*statement, *parameters));
            }
            Event::LocalInfile(_) => return true,
            _ => {}
        }
        false
    }
}
