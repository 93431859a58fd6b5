//! Lines of a file from its end backwards, so that the last ones of a large file cost little.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Read at a time, bytes.
const BLOCK: u64 = 64 << 10;

/// Lines of a file, last first, without their newlines.
pub(super) struct LinesBackwards<'a> {
    file: &'a File,
    /// Where the bytes in `held` begin in the file.
    at: u64,
    /// What is read and not yet handed out.
    held: Vec<u8>,
    /// No newline is at or after this place in `held`.
    searched: usize,
    done: bool,
}

impl<'a> LinesBackwards<'a> {
    /// Starts at `end`, bytes from the start of the file: behind a newline, or in mid-line.
    /// What stands before a newline at `end` is the first line handed out.
    pub(super) fn new(file: &'a File, end: u64) -> io::Result<Self> {
        let mut lines = Self { file, at: end, held: Vec::new(), searched: 0, done: end == 0 };
        if end > 0 {
            lines.read_block()?;
            if lines.held.last() == Some(&b'\n') {
                lines.held.pop();
            }
            lines.searched = lines.held.len();
        }
        Ok(lines)
    }

    fn read_block(&mut self) -> io::Result<()> {
        let length = self.at.min(BLOCK);
        let mut block = vec![0; usize::try_from(length).unwrap_or(0)];
        self.file.read_exact_at(&mut block, self.at - length)?;
        self.at -= length;
        self.searched = block.len();
        block.append(&mut self.held);
        self.held = block;
        Ok(())
    }
}

impl Iterator for LinesBackwards<'_> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        loop {
            let head = self.held.get(..self.searched).unwrap_or_default();
            if let Some(newline) = head.iter().rposition(|byte| *byte == b'\n') {
                let line = self.held.split_off(newline + 1);
                self.held.pop();
                self.searched = self.held.len();
                return Some(Ok(line));
            }
            if self.at == 0 {
                self.done = true;
                return Some(Ok(std::mem::take(&mut self.held)));
            }
            if let Err(error) = self.read_block() {
                self.done = true;
                return Some(Err(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn backwards(text: &str) -> Vec<String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        LinesBackwards::new(&file, text.len() as u64)
            .unwrap()
            .map(|line| String::from_utf8(line.unwrap()).unwrap())
            .collect()
    }

    #[test]
    fn lines_come_last_first_however_long_they_are() {
        assert_eq!(backwards(""), Vec::<String>::new());
        assert_eq!(backwards("\n"), [""]);
        assert_eq!(backwards("a"), ["a"]);
        assert_eq!(backwards("a\n\nb\n"), ["b", "", "a"]);
        assert_eq!(backwards("a\ntorn"), ["torn", "a"]);
        let long = "x".repeat(200_000);
        assert_eq!(backwards(&format!("a\n{long}\nb\n")), ["b", &long, "a"]);
        let edge = "y".repeat(65_535);
        assert_eq!(backwards(&format!("{edge}\n{edge}\n")), [edge.clone(), edge]);
    }
}
