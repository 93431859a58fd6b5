//! A client's messages, and the check that what it is told answers them in order.

use crate::wire::postgres::frame::frame;

/// What a client sends; names are one letter, texts are the simulator's.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sent {
    Query(String),
    Parse(&'static str, String),
    Bind(&'static str, &'static str),
    DescribeStatement(&'static str),
    DescribePortal(&'static str),
    Execute(&'static str),
    /// Execute with a limit of rows.
    Fetch(&'static str, u8),
    CloseStatement(&'static str),
    ClosePortal(&'static str),
    CopyData,
    CopyDone,
    Flush,
    Sync,
}

impl Sent {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let string = |out: &mut Vec<u8>, text: &str| {
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        };
        match self {
            Self::Query(text) => frame(&mut out, b'Q', |out| string(out, text)),
            Self::Parse(name, text) => frame(&mut out, b'P', |out| {
                string(out, name);
                string(out, text);
                out.extend_from_slice(&[0, 0]);
            }),
            Self::Bind(portal, statement) => frame(&mut out, b'B', |out| {
                string(out, portal);
                string(out, statement);
                out.extend_from_slice(&[0; 6]);
            }),
            Self::DescribeStatement(name) => named(&mut out, b'D', b'S', name),
            Self::DescribePortal(name) => named(&mut out, b'D', b'P', name),
            Self::CloseStatement(name) => named(&mut out, b'C', b'S', name),
            Self::ClosePortal(name) => named(&mut out, b'C', b'P', name),
            Self::Execute(portal) => execute(&mut out, portal, 0),
            Self::Fetch(portal, rows_max) => execute(&mut out, portal, *rows_max),
            Self::CopyData => frame(&mut out, b'd', |out| out.extend_from_slice(COPY_DATA)),
            Self::CopyDone => frame(&mut out, b'c', |_| ()),
            Self::Flush => frame(&mut out, b'H', |_| ()),
            Self::Sync => frame(&mut out, b'S', |_| ()),
        }
        out
    }
}

/// Long enough to be cut, and at its end what would drop a table were it read as a message.
const COPY_DATA: &[u8] = b"1\n2\n3\n4\n5\n6\n7\n8\nQ\0\0\0\x14DROP TABLE t4;;\0";

fn execute(out: &mut Vec<u8>, portal: &str, rows_max: u8) {
    frame(out, b'E', |out| {
        out.extend_from_slice(portal.as_bytes());
        out.extend_from_slice(&[0, 0, 0, 0, rows_max]);
    });
}

fn named(out: &mut Vec<u8>, tag: u8, kind: u8, name: &str) {
    frame(out, tag, |out| {
        out.push(kind);
        out.extend_from_slice(name.as_bytes());
        out.push(0);
    });
}

/// What comes without being asked for.
pub(super) fn is_volunteered(told: &str) -> bool {
    matches!(told, "N" | "A" | "S")
}

/// Checks that `told` answers `sent`, message by message: each in its own way, or with an error after
/// which nothing comes up to the next ReadyForQuery.
pub(super) fn check(sent: &[Sent], told: &[String]) {
    let mut told = told.iter().map(String::as_str).filter(|told| !is_volunteered(told));
    let mut next = || told.next().unwrap_or("nothing");
    let mut failed = false;
    for message in sent {
        match message {
            Sent::Query(_) if failed => (),
            Sent::Query(_) => loop {
                match next() {
                    "T" | "D" | "C" | "I" | "G" => (),
                    ready if ready.starts_with('Z') => break,
                    error if error.starts_with('E') => (),
                    other => panic!("{other} answers {message:?}"),
                }
            },
            Sent::Sync => {
                let mut ready = next();
                if !failed && ready.starts_with('E') {
                    // It would have committed what ran under a grant that has ended since.
                    ready = next();
                }
                assert!(ready.starts_with('Z'), "{ready} answers Sync");
                failed = false;
            }
            Sent::Flush | Sent::CopyData | Sent::CopyDone => (),
            _ if failed => (),
            _ => failed = !answered(message, &mut next),
        }
    }
    assert_eq!(told.next(), None, "more was told than was asked");
}

/// Reads the answer to one message of a segment; false when it is an error.
fn answered<'a>(message: &Sent, next: &mut impl FnMut() -> &'a str) -> bool {
    let expected: &[&str] = match message {
        Sent::Parse(..) => &["1"],
        Sent::Bind(..) => &["2"],
        Sent::CloseStatement(_) | Sent::ClosePortal(_) => &["3"],
        Sent::DescribeStatement(_) => &["t", "n|T"],
        Sent::DescribePortal(_) => &["n|T"],
        Sent::Execute(_) | Sent::Fetch(..) => loop {
            match next() {
                "D" | "G" => (),
                "C" | "I" => return true,
                "s" if matches!(message, Sent::Fetch(_, limit) if *limit > 0) => return true,
                error if error.starts_with('E') => return false,
                other => panic!("{other} answers {message:?}"),
            }
        },
        other => panic!("{other:?} is no message of a segment"),
    };
    for expected in expected {
        let told = next();
        if told.starts_with('E') {
            return false;
        }
        assert!(expected.split('|').any(|expected| expected == told), "{told} answers {message:?}");
    }
    true
}
