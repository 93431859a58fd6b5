//! How far a server is in the log that replicas replay.

use std::fmt;

use super::gtid::{MariaGtid, MysqlGtid};

/// How far a server is, as it says itself. Positions are ordered in part: of two that were written apart, neither
/// covers the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// PostgreSQL: a byte of the write-ahead log.
    Lsn(u64),
    /// MariaDB: the last transaction of each domain.
    MariaGtid(MariaGtid),
    /// MySQL: the set of all transactions.
    MysqlGtid(MysqlGtid),
    /// Positions of servers that have nothing in common, put together: no server gets there.
    Nowhere,
}

/// Text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct PositionError {
    what: &'static str,
    text: Box<str>,
}

impl PositionError {
    pub(super) fn new(what: &'static str, text: &str) -> Self {
        const SHOWN_MAX: usize = 60;
        Self { what, text: text.chars().take(SHOWN_MAX).collect() }
    }
}

/// Bytes of a page of the write-ahead log, as PostgreSQL is built by default.
const PAGE: u64 = 8192;
/// Bytes of a page's header; the first page of a segment has the longer one.
const HEADERS: [u64; 2] = [24, 40];

impl Position {
    /// Reads what PostgreSQL shows as `pg_lsn`: `16/B374D848`.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn lsn(text: &str) -> Result<Self, PositionError> {
        let half = |digits: &str| {
            let is_hex = (1..=8).contains(&digits.len())
                && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let halves = text.split_once('/').and_then(|(high, low)| half(high).zip(half(low)));
        let (high, low) = halves.ok_or_else(|| PositionError::new("a pg_lsn", text))?;
        Ok(Self::Lsn(high << 32 | low))
    }

    /// Reads what MariaDB shows as `@@gtid_binlog_pos`: `0-1-100,1-2-5`.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn mariadb(text: &str) -> Result<Self, PositionError> {
        Ok(Self::MariaGtid(text.parse()?))
    }

    /// Reads what MySQL shows as `@@gtid_executed`: `3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7-9`.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn mysql(text: &str) -> Result<Self, PositionError> {
        Ok(Self::MysqlGtid(text.parse()?))
    }

    /// Where the last record before a place in PostgreSQL's log ends. `pg_current_wal_insert_lsn()` says where the
    /// next one will begin. When the last one has just filled a page, that is behind the next page's header, which no
    /// standby gets to before there is a record.
    ///
    /// A record that ends as far into its page has begun on the page before, so a standby that has replayed to the
    /// page's beginning has replayed all of it.
    #[must_use]
    pub fn end_of_record(self) -> Self {
        match self {
            Self::Lsn(lsn) if HEADERS.contains(&(lsn % PAGE)) => Self::Lsn(lsn - lsn % PAGE),
            other => other,
        }
    }

    /// Whether a server that is here has all that one has had that was there.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nowhere, _) => true,
            (Self::Lsn(own), Self::Lsn(other)) => own >= other,
            (Self::MariaGtid(own), Self::MariaGtid(other)) => own.covers(other),
            (Self::MysqlGtid(own), Self::MysqlGtid(other)) => own.covers(other),
            (Self::Lsn(_) | Self::MariaGtid(_) | Self::MysqlGtid(_), _) => false,
        }
    }

    /// Goes on to the first position that covers both.
    pub fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Lsn(own), Self::Lsn(other)) => *own = (*own).max(*other),
            (Self::MariaGtid(own), Self::MariaGtid(other)) => own.merge(other),
            (Self::MysqlGtid(own), Self::MysqlGtid(other)) => own.merge(other),
            _ => *self = Self::Nowhere,
        }
    }

    /// Bytes of log from `behind` to here, where that is known.
    pub fn bytes_since(&self, behind: &Self) -> Option<u64> {
        match (self, behind) {
            (Self::Lsn(own), Self::Lsn(behind)) => Some(own.saturating_sub(*behind)),
            _ => None,
        }
    }
}

/// As the server shows it.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lsn(lsn) => write!(f, "{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF),
            Self::MariaGtid(gtid) => gtid.fmt(f),
            Self::MysqlGtid(gtid) => gtid.fmt(f),
            Self::Nowhere => f.write_str("nowhere"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::gtid::tests::{any_maria, any_mysql};

    pub fn any_position() -> impl Strategy<Value = Position> {
        // Few enough that some of them meet.
        prop_oneof![
            (0_u64..50).prop_map(Position::Lsn),
            any::<u64>().prop_map(Position::Lsn),
            any_maria().prop_map(Position::MariaGtid),
            any_mysql().prop_map(Position::MysqlGtid),
            Just(Position::Nowhere),
        ]
    }

    fn read_back(position: &Position) -> Result<Position, PositionError> {
        let text = position.to_string();
        match position {
            Position::Lsn(_) => Position::lsn(&text),
            Position::MariaGtid(_) => Position::mariadb(&text),
            Position::MysqlGtid(_) => Position::mysql(&text),
            Position::Nowhere => Ok(Position::Nowhere),
        }
    }

    fn lsn(text: &str) -> Position {
        Position::lsn(text).unwrap()
    }

    #[test]
    fn an_lsn_is_read_and_shown_as_the_server_does() {
        assert_eq!(lsn("16/B374D848"), Position::Lsn(0x16_B374_D848));
        assert_eq!(lsn("0/0").to_string(), "0/0");
        assert_eq!(lsn("ffffffff/FFFFFFFF"), Position::Lsn(u64::MAX));
        assert_eq!(lsn("16/B374D848").to_string(), "16/B374D848");
        for text in
            ["", "/", "1/", "/1", "1", "+1/1", "1/-1", "1/ 1", "123456789/0", "0/g", "1/2/3"]
        {
            let error = Position::lsn(text).unwrap_err();
            assert_eq!(error.to_string(), format!("{text:?} is not a pg_lsn"));
        }
    }

    #[test]
    fn a_place_behind_a_pages_header_is_the_end_of_the_page_before() {
        // On the first page of a segment the header has 40 bytes, on others 24.
        assert_eq!(lsn("0/5000028").end_of_record(), lsn("0/5000000"));
        assert_eq!(lsn("0/5002018").end_of_record(), lsn("0/5002000"));
        for unchanged in ["0/0", "0/5000000", "0/5002020", "0/50020B8", "0/5000029"] {
            assert_eq!(lsn(unchanged).end_of_record(), lsn(unchanged));
        }
        assert_eq!(Position::Nowhere.end_of_record(), Position::Nowhere);
    }

    #[test]
    fn bytes_lie_between_lsns_only() {
        assert_eq!(lsn("1/10").bytes_since(&lsn("1/0")), Some(16));
        assert_eq!(lsn("1/0").bytes_since(&lsn("1/10")), Some(0));
        let gtid = Position::mariadb("0-1-5").unwrap();
        assert_eq!(gtid.bytes_since(&gtid), None);
        assert_eq!(lsn("1/0").bytes_since(&gtid), None);
    }

    #[test]
    fn positions_of_different_servers_never_cover_each_other() {
        let mut bound = lsn("1/0");
        let gtid = Position::mariadb("").unwrap();
        assert!(!bound.covers(&gtid) && !gtid.covers(&bound));
        bound.merge(&gtid);
        assert_eq!(bound, Position::Nowhere);
        assert!(!gtid.covers(&bound) && !lsn("FFFFFFFF/FFFFFFFF").covers(&bound));
    }

    proptest! {
        #[test]
        fn positions_are_ordered_in_part(
            a in any_position(), b in any_position(), c in any_position()
        ) {
            prop_assert!(a.covers(&a));
            prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c));
            // What covers each other differs at most in who wrote it.
            if a.covers(&b) && b.covers(&a) {
                prop_assert!(c.covers(&a) == c.covers(&b) && a.covers(&c) == b.covers(&c));
            }
        }

        #[test]
        fn merging_gives_the_first_position_that_covers_both(
            a in any_position(), b in any_position(), c in any_position()
        ) {
            let mut both = a.clone();
            both.merge(&b);
            prop_assert!(both.covers(&a) && both.covers(&b));
            prop_assert_eq!(c.covers(&both), c.covers(&a) && c.covers(&b));
        }

        #[test]
        fn what_is_shown_is_read_back(position in any_position()) {
            prop_assert_eq!(read_back(&position), Ok(position));
        }

        #[test]
        fn no_text_is_too_much(text in ".{0,80}", near in "[0-9a-fA-F/,:\\- \n_]{0,80}") {
            for text in [text, near] {
                for read in [Position::lsn, Position::mariadb, Position::mysql] {
                    if let Ok(position) = read(&text) {
                        prop_assert_eq!(read(&position.to_string()), Ok(position));
                    }
                }
            }
        }

        #[test]
        fn the_end_of_a_record_is_never_further(lsn in any::<u64>()) {
            let position = Position::Lsn(lsn);
            let end = position.clone().end_of_record();
            prop_assert!(position.covers(&end));
            prop_assert!(position.bytes_since(&end).is_some_and(|bytes| bytes <= 40));
        }
    }
}
