//! Global transaction identifiers: where MariaDB is, and what MySQL has.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::position::PositionError;

/// MariaDB's position: of each replication domain, the last transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MariaGtid(BTreeMap<u32, Last>);

/// The last transaction of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    server: u32,
    sequence: u64,
}

impl MariaGtid {
    /// Whether each domain has got as far. Who wrote the last transaction says nothing: within a domain, numbers
    /// go on from server to server, and MASTER_GTID_WAIT() compares no more, either.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(domain, theirs)| {
            self.0.get(domain).is_some_and(|own| own.sequence >= theirs.sequence)
        })
    }

    /// Goes on, in each domain, to where the further one is.
    pub fn merge(&mut self, other: &Self) {
        for (domain, theirs) in &other.0 {
            let own = self.0.entry(*domain).or_insert(*theirs);
            if theirs.sequence > own.sequence {
                *own = *theirs;
            }
        }
    }

    /// No transaction at all: a server that has not written its log.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for MariaGtid {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let refused = || PositionError::new("a position of MariaDB", text);
        let mut domains = BTreeMap::new();
        for one in listed(text) {
            let mut parts = one.split('-');
            let mut part = || number(parts.next()?);
            let read = (part(), part(), part());
            let (Some(domain), Some(server), Some(sequence)) = read else { return Err(refused()) };
            let (Ok(domain), Ok(server)) = (u32::try_from(domain), u32::try_from(server)) else {
                return Err(refused());
            };
            let is_again = domains.insert(domain, Last { server, sequence }).is_some();
            if is_again || parts.next().is_some() {
                return Err(refused());
            }
        }
        Ok(Self(domains))
    }
}

impl fmt::Display for MariaGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (domain, Last { server, sequence })) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

/// MySQL's set of transactions: of each source, their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MysqlGtid(BTreeMap<Source, Intervals>);

/// Who numbered transactions: a server's UUID, and the tag under which they were written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    uuid: u128,
    /// Empty without one.
    tag: Box<str>,
}

/// First and last numbers: ascending, with a gap between two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Intervals(Vec<(u64, u64)>);

/// The greatest number that a transaction can have.
const NUMBER_MAX: u64 = i64::MAX as u64 - 1;
const TAG_MAX: usize = 32;

impl MysqlGtid {
    /// Whether every transaction of the other is one of these.
    pub fn covers(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|(source, theirs)| self.0.get(source).is_some_and(|own| own.cover(theirs)))
    }

    /// Adds the other's transactions.
    pub fn merge(&mut self, other: &Self) {
        for (source, theirs) in &other.0 {
            match self.0.get_mut(source) {
                Some(own) if own.cover(theirs) => {}
                Some(own) => own.add(&theirs.0),
                None => drop(self.0.insert(source.clone(), theirs.clone())),
            }
        }
    }

    /// No transaction at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Intervals {
    fn cover(&self, other: &Self) -> bool {
        other.0.iter().all(|&(first, last)| {
            // The last interval that begins no later.
            let after = self.0.partition_point(|&(own, _)| own <= first);
            let before = after.checked_sub(1).and_then(|at| self.0.get(at));
            before.is_some_and(|&(_, own)| own >= last)
        })
    }

    fn add(&mut self, more: &[(u64, u64)]) {
        let mut all = std::mem::take(&mut self.0);
        all.extend_from_slice(more);
        all.sort_unstable();
        for (first, last) in all {
            match self.0.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => self.0.push((first, last)),
            }
        }
    }
}

impl FromStr for MysqlGtid {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let mut sources: BTreeMap<Source, Vec<(u64, u64)>> = BTreeMap::new();
        for one in listed(text) {
            read_source(one, &mut sources)
                .ok_or_else(|| PositionError::new("a set of MySQL's transactions", text))?;
        }
        let joined = sources.into_iter().map(|(source, numbers)| {
            let mut intervals = Intervals::default();
            intervals.add(&numbers);
            (source, intervals)
        });
        Ok(Self(joined.collect()))
    }
}

/// `uuid:1-5:7`, `uuid:tag:1-5`, `uuid:1-5:tag:1-5:other:2`: what follows a tag is under it.
fn read_source(text: &str, sources: &mut BTreeMap<Source, Vec<(u64, u64)>>) -> Option<()> {
    let mut parts = text.split(':').map(str::trim);
    let uuid = read_uuid(parts.next()?)?;
    let mut tag: Box<str> = "".into();
    let mut is_named = false;
    let mut numbers: Vec<(u64, u64)> = Vec::new();
    let mut any = false;
    for part in parts {
        if part.starts_with(|first: char| first.is_ascii_digit()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first.trim())?, number(last.trim())?);
            if first == 0 || last < first || last > NUMBER_MAX {
                return None;
            }
            numbers.push((first, last));
            any = true;
        } else {
            // A tag with nothing under it.
            if is_named && numbers.is_empty() {
                return None;
            }
            put(sources, uuid, &tag, std::mem::take(&mut numbers));
            tag = read_tag(part)?;
            is_named = true;
        }
    }
    if !any || numbers.is_empty() {
        return None;
    }
    put(sources, uuid, &tag, numbers);
    Some(())
}

fn put(
    sources: &mut BTreeMap<Source, Vec<(u64, u64)>>,
    uuid: u128,
    tag: &str,
    numbers: Vec<(u64, u64)>,
) {
    if !numbers.is_empty() {
        sources.entry(Source { uuid, tag: tag.into() }).or_default().extend(numbers);
    }
}

fn read_tag(text: &str) -> Option<Box<str>> {
    let tag = text.to_ascii_lowercase();
    let begins = tag.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
    let goes_on = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (begins && tag.len() <= TAG_MAX && tag.chars().all(goes_on)).then(|| tag.into())
}

fn read_uuid(text: &str) -> Option<u128> {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let in_place = |(at, c): (usize, char)| match c {
        '-' => DASHES.contains(&at),
        c => c.is_ascii_hexdigit() && !DASHES.contains(&at),
    };
    if text.len() != 36 || !text.char_indices().all(in_place) {
        return None;
    }
    u128::from_str_radix(&text.replace('-', ""), 16).ok()
}

impl fmt::Display for MysqlGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = None;
        for (Source { uuid, tag }, intervals) in &self.0 {
            if before != Some(*uuid) {
                let comma = if before.is_some() { "," } else { "" };
                let group = |shift: u32, bits: u32| (uuid >> shift) & ((1 << bits) - 1);
                write!(
                    f,
                    "{comma}{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                    group(96, 32),
                    group(80, 16),
                    group(64, 16),
                    group(48, 16),
                    group(0, 48)
                )?;
                before = Some(*uuid);
            }
            if !tag.is_empty() {
                write!(f, ":{tag}")?;
            }
            for (first, last) in &intervals.0 {
                write!(f, ":{first}")?;
                if last > first {
                    write!(f, "-{last}")?;
                }
            }
        }
        Ok(())
    }
}

/// What stands between commas; nothing in an empty text.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim();
    text.split(',').filter(move |_| !text.is_empty()).map(str::trim)
}

/// Digits, and nothing but.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const TWO: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    pub fn any_maria() -> impl Strategy<Value = MariaGtid> {
        let last = (0_u32..3, 0_u64..6).prop_map(|(server, sequence)| Last { server, sequence });
        btree_map(0_u32..4, last, 0..4).prop_map(MariaGtid)
    }

    pub fn any_mysql() -> impl Strategy<Value = MysqlGtid> {
        let source = (prop_oneof![Just(0), Just(7), Just(u128::MAX)], "|t|_t2")
            .prop_map(|(uuid, tag)| Source { uuid, tag: tag.into() });
        let numbers = vec((1_u64..12, 0_u64..4), 1..4).prop_map(|numbers| {
            let mut intervals = Intervals::default();
            let numbers: Vec<_> =
                numbers.into_iter().map(|(first, more)| (first, first + more)).collect();
            intervals.add(&numbers);
            intervals
        });
        btree_map(source, numbers, 0..4).prop_map(MysqlGtid)
    }

    fn maria(text: &str) -> MariaGtid {
        text.parse().unwrap()
    }

    fn mysql(text: &str) -> MysqlGtid {
        text.parse().unwrap()
    }

    #[test]
    fn mariadb_is_compared_domain_by_domain() {
        assert_eq!(maria("0-1-100, 1-2-5").to_string(), "0-1-100,1-2-5");
        assert!(maria("0-2-101,1-2-5,7-7-7").covers(&maria("0-1-100,1-2-5")));
        assert!(!maria("0-2-101").covers(&maria("0-1-100,1-2-5")));
        assert!(!maria("0-1-101,1-2-4").covers(&maria("0-1-100,1-2-5")));
        assert!(maria("0-1-1").covers(&maria("")) && maria("").is_empty());
        for text in [
            ",",
            "0-1",
            "0-1-2-3",
            "0--1",
            "0-1-2,",
            "0-1-2,0-1-3",
            "4294967296-1-1",
            "a-1-1",
            "0-1-18446744073709551616",
            "+0-1-2",
        ] {
            assert!(text.parse::<MariaGtid>().is_err(), "{text}");
        }
    }

    #[test]
    fn mysql_is_compared_transaction_by_transaction() {
        let set = mysql(&format!("{ONE}:1-5:7-9,\n{TWO}:3"));
        assert_eq!(set.to_string(), format!("{ONE}:1-5:7-9,{TWO}:3"));
        assert!(set.covers(&mysql(&format!("{ONE}:2-3:9"))));
        assert!(!set.covers(&mysql(&format!("{ONE}:5-7"))));
        assert!(!set.covers(&mysql(&format!("{TWO}:2-3"))));
        assert!(set.covers(&mysql("")) && !mysql("").covers(&set));
        // Neighbours are one interval, in whatever order and case they come.
        assert_eq!(
            mysql(&format!("{}:4-6:1-2:3,{ONE}:7", ONE.to_uppercase())),
            mysql(&format!("{ONE}:1-7"))
        );
    }

    #[test]
    fn mysql_tells_tags_apart() {
        let set = mysql(&format!("{ONE}:1-5:a:1-3:9:_b:2,{TWO}:a:1"));
        assert_eq!(set.to_string(), format!("{ONE}:1-5:_b:2:a:1-3:9,{TWO}:a:1"));
        assert!(set.covers(&mysql(&format!("{ONE}:A:2:9"))));
        assert!(!set.covers(&mysql(&format!("{ONE}:4:a:4"))));
        assert!(!set.covers(&mysql(&format!("{TWO}:1"))));
    }

    #[test]
    fn mysql_refuses_what_is_no_set() {
        let long = "t".repeat(33);
        for rest in [
            "",
            ":",
            ":0",
            ":2-1",
            ":1-",
            ":t",
            ":1:t",
            ":t:u:1",
            ":1-2-3",
            ":1:é:1",
            ":9223372036854775807",
        ]
        .map(String::from)
        .into_iter()
        .chain([format!(":{long}:1")])
        {
            assert!(format!("{ONE}{rest}").parse::<MysqlGtid>().is_err(), "{rest}");
        }
        for text in ["x:1", ",", &format!("{ONE}:1,"), "3e11fa4771ca11e19e33c80aa9429562:1"] {
            assert!(text.parse::<MysqlGtid>().is_err(), "{text}");
        }
    }
}
