//! What the two ends of a connection can do ("Capability Flags"; MariaDB: "Connection", the extended
//! ones in the upper half).

use std::fmt;
use std::ops::{BitAnd, BitOr};

/// A set of capabilities: the protocol's 32 below, MariaDB's own above.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(u64);

macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Capabilities {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, stringify!($name)),)*];
        }
    };
}

capabilities! {
    /// Set by MySQL's ends; MariaDB's leave it out, and so say that the upper half means something.
    MYSQL = 0;
    /// Matched rather than changed rows are counted.
    FOUND_ROWS = 1;
    /// Longer column flags.
    LONG_FLAG = 2;
    /// The login names a schema.
    CONNECT_WITH_DB = 3;
    /// `schema.table.column` is not taken.
    NO_SCHEMA = 4;
    /// zlib.
    COMPRESS = 5;
    /// Nothing any more.
    ODBC = 6;
    /// LOAD DATA LOCAL.
    LOCAL_FILES = 7;
    /// Spaces before a function's parenthesis.
    IGNORE_SPACE = 8;
    /// The protocol of MySQL 4.1: nothing older is spoken.
    PROTOCOL_41 = 9;
    /// `interactive_timeout` counts.
    INTERACTIVE = 10;
    /// TLS.
    SSL = 11;
    /// Nothing on the wire.
    IGNORE_SIGPIPE = 12;
    /// The status tells of transactions.
    TRANSACTIONS = 13;
    /// Nothing any more.
    RESERVED = 14;
    /// Passwords are proved as since 4.1.
    SECURE_CONNECTION = 15;
    /// Several statements in one COM_QUERY.
    MULTI_STATEMENTS = 16;
    /// Several results of one COM_QUERY.
    MULTI_RESULTS = 17;
    /// Several results of one COM_STMT_EXECUTE.
    PS_MULTI_RESULTS = 18;
    /// Authentication by named plugins.
    PLUGIN_AUTH = 19;
    /// The login tells of the program that logs in.
    CONNECT_ATTRS = 20;
    /// The login's proof may be longer than 255 bytes.
    PLUGIN_AUTH_LENENC = 21;
    /// A login with an expired password, to set a new one.
    EXPIRED_PASSWORDS = 22;
    /// OK tells what changed of the session.
    SESSION_TRACK = 23;
    /// Rows end with an OK, and no EOF stands after columns.
    DEPRECATE_EOF = 24;
    /// Results without their columns.
    OPTIONAL_METADATA = 25;
    /// zstd.
    ZSTD = 26;
    /// Attributes stand before the text of a query.
    QUERY_ATTRIBUTES = 27;
    /// Several proofs at a login.
    MULTI_FACTOR = 28;
    /// Reserved for more than 32.
    EXTENSION = 29;
    /// Nothing on the wire.
    SSL_VERIFY = 30;
    /// Nothing on the wire.
    REMEMBER_OPTIONS = 31;
    /// MariaDB: errors of number 0xffff tell of progress.
    PROGRESS = 32;
    /// MariaDB: COM_MULTI, withdrawn.
    MULTI = 33;
    /// MariaDB: COM_STMT_BULK_EXECUTE.
    BULK = 34;
    /// MariaDB: columns tell their extended types.
    EXTENDED_METADATA = 35;
    /// MariaDB: an execution may leave out the columns that its statement had before.
    CACHE_METADATA = 36;
    /// MariaDB: a bulk execution's result has a row for each of its rows.
    BULK_UNIT_RESULTS = 37;
}

impl Capabilities {
    /// None.
    pub const NONE: Self = Self(0);

    /// What Daypass can pass on between a client and a server. Not among it: compression, results
    /// without columns, logins with several proofs, and what is not known here.
    pub const PASSED: Self = Self(
        Self::MYSQL.0
            | Self::FOUND_ROWS.0
            | Self::LONG_FLAG.0
            | Self::CONNECT_WITH_DB.0
            | Self::NO_SCHEMA.0
            | Self::ODBC.0
            | Self::LOCAL_FILES.0
            | Self::IGNORE_SPACE.0
            | Self::PROTOCOL_41.0
            | Self::INTERACTIVE.0
            | Self::IGNORE_SIGPIPE.0
            | Self::TRANSACTIONS.0
            | Self::RESERVED.0
            | Self::SECURE_CONNECTION.0
            | Self::MULTI_STATEMENTS.0
            | Self::MULTI_RESULTS.0
            | Self::PS_MULTI_RESULTS.0
            | Self::PLUGIN_AUTH.0
            | Self::CONNECT_ATTRS.0
            | Self::PLUGIN_AUTH_LENENC.0
            | Self::SESSION_TRACK.0
            | Self::DEPRECATE_EOF.0
            | Self::QUERY_ATTRIBUTES.0
            | Self::PROGRESS.0
            | Self::BULK.0
            | Self::EXTENDED_METADATA.0
            | Self::CACHE_METADATA.0
            | Self::BULK_UNIT_RESULTS.0,
    );

    /// What belongs to a login alone, and need not be the same on both sides of us.
    pub const OF_LOGIN: Self = Self(
        Self::CONNECT_WITH_DB.0
            | Self::CONNECT_ATTRS.0
            | Self::PLUGIN_AUTH.0
            | Self::PLUGIN_AUTH_LENENC.0,
    );

    /// What every end has to have.
    pub const NEEDED: Self = Self(Self::PROTOCOL_41.0 | Self::SECURE_CONNECTION.0);

    /// From the protocol's own and MariaDB's.
    pub fn new(basic: u32, extended: u32) -> Self {
        Self(u64::from(basic) | u64::from(extended) << 32)
    }

    /// The protocol's own.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    pub const fn basic(self) -> u32 {
        self.0 as u32
    }

    /// MariaDB's.
    pub const fn extended(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether all of those are here.
    pub const fn has(self, those: Self) -> bool {
        self.0 & those.0 == those.0
    }

    /// Without those.
    #[must_use]
    pub const fn without(self, those: Self) -> Self {
        Self(self.0 & !those.0)
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Capabilities {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().filter(|(one, _)| self.has(*one)).map(|(_, name)| name);
        f.debug_set().entries(names).finish()
    }
}

/// Where a session stands, as OK and EOF tell ("SERVER_STATUS_flags_enum").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(pub u16);

impl Status {
    /// Inside a transaction.
    pub const IN_TRANSACTION: Self = Self(0x0001);
    /// Every statement is its own transaction.
    pub const AUTOCOMMIT: Self = Self(0x0002);
    /// Another result of the same command follows.
    pub const MORE_RESULTS: Self = Self(0x0008);
    /// The execution opened a cursor; its rows are fetched.
    pub const CURSOR_EXISTS: Self = Self(0x0040);
    /// The last row of a cursor was sent.
    pub const LAST_ROW_SENT: Self = Self(0x0080);
    /// The schema was dropped.
    pub const DB_DROPPED: Self = Self(0x0100);
    /// Backslashes are characters like others: a quote is not escaped by one.
    pub const NO_BACKSLASH_ESCAPES: Self = Self(0x0200);
    /// Columns of a prepared statement changed.
    pub const METADATA_CHANGED: Self = Self(0x0400);
    /// The result is values of OUT parameters.
    pub const OUT_PARAMETERS: Self = Self(0x1000);
    /// Inside a read-only transaction.
    pub const IN_READ_ONLY_TRANSACTION: Self = Self(0x2000);
    /// What changed of the session stands in the OK.
    pub const SESSION_CHANGED: Self = Self(0x4000);
    /// MariaDB: double quotes enclose names.
    pub const ANSI_QUOTES: Self = Self(0x8000);

    /// Whether all of those flags are set.
    pub const fn has(self, those: Self) -> bool {
        self.0 & those.0 == those.0
    }

    /// Those flags as well.
    #[must_use]
    pub const fn with(self, those: Self) -> Self {
        Self(self.0 | those.0)
    }

    /// Those flags that say where the session stands; the others are of the one reply that they come in.
    #[must_use]
    pub const fn of_session(self) -> Self {
        let lasting = Self::IN_TRANSACTION
            .with(Self::AUTOCOMMIT)
            .with(Self::NO_BACKSLASH_ESCAPES)
            .with(Self::IN_READ_ONLY_TRANSACTION)
            .with(Self::ANSI_QUOTES);
        Self(self.0 & lasting.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_passed_on_is_not() {
        for refused in [
            Capabilities::COMPRESS,
            Capabilities::ZSTD,
            Capabilities::OPTIONAL_METADATA,
            Capabilities::MULTI_FACTOR,
            Capabilities::EXPIRED_PASSWORDS,
            Capabilities::REMEMBER_OPTIONS,
            Capabilities::MULTI,
            Capabilities::SSL,
        ] {
            assert!(!Capabilities::PASSED.has(refused), "{refused:?}");
        }
    }

    #[test]
    fn the_halves_are_kept_apart() {
        let both = Capabilities::new(0x8000_0001, 0x14);
        assert_eq!((both.basic(), both.extended()), (0x8000_0001, 0x14));
        assert!(both.has(Capabilities::BULK | Capabilities::CACHE_METADATA | Capabilities::MYSQL));
        assert_eq!(format!("{:?}", Capabilities::BULK | Capabilities::SSL), "{\"SSL\", \"BULK\"}");
    }
}
