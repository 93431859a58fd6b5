//! Where the stream goes: a file, standard output.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::chain::{Chain, sequence_of};
use super::lines::LinesBackwards;

/// How far back a readable record is looked for at the end of an existing file, lines.
const DAMAGED_LINES_MAX: u64 = 1_000;

/// Takes bytes of the stream, in order.
pub(super) trait Sink: Send {
    /// What errors call it.
    fn name(&self) -> String;

    /// Writes from the head of `bytes`, which is never empty, and says how many it took.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Comes back once everything written is on stable storage.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives up what is open; the next write opens it anew. Says how many bytes of an unfinished
    /// line it took back, which are to be written again.
    fn reopen(&mut self) -> usize;

    /// Whether what is open still is what its name means.
    fn place(&self) -> Place;
}

/// Whether an open file still has its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Yes, or the question makes no sense.
    Same,
    /// It was renamed: rotated.
    Moved,
    /// It was removed, and what was written to it is gone.
    Removed,
}

/// Why a file cannot take the stream.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system says no.
    #[error("cannot open the audit file {}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Two writers would break the chain.
    #[error("the audit file {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Nothing is appended to a file that holds something else.
    #[error("the file {} does not end in audit records: move it away or name another", .0.display())]
    NotAudit(PathBuf),
    /// The thread that writes could not be started.
    #[error("cannot start the audit writer: {0}")]
    Thread(io::Error),
}

/// What an existing file says about the stream that goes on in it.
#[derive(Debug)]
pub(super) struct Resumed {
    /// After its last line.
    pub chain: Chain,
    /// The end of the file that was no whole line, and is cut off.
    pub torn: Option<Vec<u8>>,
    /// Lines at the end that are no records, and stay.
    pub damaged: u64,
    /// Whether the last record says that the stream was closed.
    pub closed: bool,
}

impl Resumed {
    fn nothing() -> Self {
        Self { chain: Chain::START, torn: None, damaged: 0, closed: true }
    }
}

/// A file, only ever appended to.
pub(super) struct FileSink {
    path: PathBuf,
    file: Option<File>,
    /// Bytes written since the last newline.
    partial: usize,
}

impl FileSink {
    /// Opens or makes the file and reads how its stream ended.
    pub(super) fn open(path: &Path) -> Result<(Self, Resumed), OpenError> {
        let io = |error| OpenError::Io { path: path.into(), error };
        let file = open_locked(path)?;
        let metadata = file.metadata().map_err(io)?;
        let resumed = if metadata.is_file() {
            let resumed = resume(&file, metadata.len())
                .map_err(io)?
                .ok_or_else(|| OpenError::NotAudit(path.into()))?;
            if let Some(torn) = &resumed.torn {
                file.set_len(metadata.len() - torn.len() as u64).map_err(io)?;
            }
            end_line(&file).map_err(io)?;
            resumed
        } else {
            Resumed::nothing()
        };
        Ok((Self { path: path.into(), file: Some(file), partial: 0 }, resumed))
    }
}

impl Sink for FileSink {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            closed @ None => {
                let file = open_locked(&self.path).map_err(io::Error::other)?;
                if file.metadata()?.is_file() {
                    end_line(&file)?;
                }
                closed.insert(file)
            }
        };
        let count = file.write(bytes)?;
        let written = bytes.get(..count).unwrap_or(bytes);
        self.partial = match written.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => written.len() - newline - 1,
            None => self.partial + written.len(),
        };
        Ok(count)
    }

    fn sync(&mut self) -> io::Result<()> {
        match &self.file {
            // A pipe or device cannot be synced, and has nothing that could be.
            Some(file) if file.metadata()?.is_file() => file.sync_data(),
            _ => Ok(()),
        }
    }

    fn reopen(&mut self) -> usize {
        let Some(file) = self.file.take() else { return 0 };
        // Best effort: a torn line that stays is one that readers skip, as after a crash.
        drop(file.sync_data());
        if self.partial > 0
            && let Ok(metadata) = file.metadata()
        {
            drop(file.set_len(metadata.len().saturating_sub(self.partial as u64)));
        }
        std::mem::take(&mut self.partial)
    }

    fn place(&self) -> Place {
        let Some(file) = &self.file else { return Place::Same };
        let Ok(open) = file.metadata() else { return Place::Same };
        match std::fs::metadata(&self.path) {
            Ok(named) if (named.dev(), named.ino()) == (open.dev(), open.ino()) => Place::Same,
            _ if open.nlink() == 0 => Place::Removed,
            _ => Place::Moved,
        }
    }
}

/// Opens for appending, makes it with mode 0600 if it is not there, and keeps other writers out.
fn open_locked(path: &Path) -> Result<File, OpenError> {
    let io = |error| OpenError::Io { path: path.into(), error };
    let made = !path.exists();
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    if file.metadata().map_err(io)?.is_file() {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.into())),
            // A file system without locks: the operator's word has to do.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
    }
    if made {
        // Without this a power failure could take the name of a file whose records were synced.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new("."))).and_then(|it| it.sync_all()).map_err(io)?;
    }
    Ok(file)
}

/// Ends a last line that lacks only its newline.
fn end_line(mut file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last == [b'\n'] { Ok(()) } else { file.write_all(b"\n") }
}

/// Reads how the stream in a file of that length ended; `None` when it holds something else.
fn resume(file: &File, length: u64) -> io::Result<Option<Resumed>> {
    let mut last = [0];
    if length == 0 {
        return Ok(Some(Resumed::nothing()));
    }
    file.read_exact_at(&mut last, length - 1)?;
    let mut lines = LinesBackwards::new(file, length)?;
    let mut next = || lines.next().transpose();
    let mut line = next()?;
    let mut torn = None;
    if last != [b'\n'] && line.as_ref().is_some_and(|line| sequence_of(line).is_none()) {
        torn = std::mem::replace(&mut line, next()?);
    }
    let Some(newest) = line else {
        // Nothing but a torn line: cut off only what was going to be a record.
        let start = b"{\"version\":1,\"sequence\":";
        let ours = torn.as_ref().is_some_and(|torn| torn.iter().zip(start).all(|(a, b)| a == b));
        return Ok(ours.then(|| Resumed { torn, ..Resumed::nothing() }));
    };
    let mut damaged = 0;
    let mut readable = Some(newest.clone());
    while let Some(line) = readable {
        if let Some(sequence) = sequence_of(&line) {
            let chain = Chain::after(sequence + damaged, &newest);
            let closed = damaged == 0 && torn.is_none() && says_closed(&line);
            return Ok(Some(Resumed { chain, torn, damaged, closed }));
        }
        damaged += 1;
        readable = if damaged < DAMAGED_LINES_MAX { next()? } else { None };
    }
    Ok(None)
}

fn says_closed(line: &[u8]) -> bool {
    let Ok(record) = serde_json::from_slice::<serde_json::Value>(line) else { return false };
    let is = |key: &str, value: &str| record.get(key).is_some_and(|found| found == value);
    is("kind", "recorder") && is("event", "closed")
}

/// Standard output, without the buffer that the standard library puts before it.
pub(super) struct StdoutSink {
    file: File,
}

impl StdoutSink {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { file: File::from(io::stdout().as_fd().try_clone_to_owned()?) })
    }
}

impl Sink for StdoutSink {
    fn name(&self) -> String {
        "standard output".into()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reopen(&mut self) -> usize {
        0
    }

    fn place(&self) -> Place {
        Place::Same
    }
}
