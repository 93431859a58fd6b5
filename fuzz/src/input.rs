//! An input: what goes over the wire or into a parser, and behind it the choices of a run. They stand
//! at the end so that the beginning of a file is what it looks like.

/// Most places at which one input is cut.
const CUTS_MAX: usize = 7;

/// Bytes with choices behind them, which are taken from the end.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of a fuzzer's bytes.
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// A choice; 0 when there is none left.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_last() {
            Some((last, rest)) => {
                self.0 = rest;
                *last
            }
            None => 0,
        }
    }

    /// That many choices, fewer when there are not so many.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (rest, tail) = self.0.split_at(self.0.len().saturating_sub(count));
        self.0 = rest;
        tail
    }

    /// What is left: the body.
    pub fn body(self) -> &'a [u8] {
        self.0
    }

    /// The body in pieces. No piece is empty.
    pub fn pieces(mut self) -> (&'a [u8], Vec<&'a [u8]>) {
        let count = usize::from(self.byte()) % (CUTS_MAX + 1);
        let cuts = self.bytes(2 * count);
        let body = self.0;
        let mut places: Vec<_> = cuts
            .chunks_exact(2)
            .map(|pair| usize::from(u16::from_be_bytes([pair[0], pair[1]])) % (body.len() + 1))
            .collect();
        places.push(body.len());
        places.sort_unstable();
        let mut start = 0;
        let mut pieces = Vec::new();
        for end in places {
            if end > start {
                pieces.push(&body[start..end]);
                start = end;
            }
        }
        (body, pieces)
    }
}

/// An input whose body is cut at these places, with these choices behind it, the first to be taken last.
pub fn write(body: &[u8], cuts: &[u16], choices: &[u8]) -> Vec<u8> {
    let mut out = body.to_vec();
    for cut in cuts {
        out.extend_from_slice(&cut.to_be_bytes());
    }
    out.push(u8::try_from(cuts.len()).unwrap_or(0));
    out.extend_from_slice(choices);
    out
}
