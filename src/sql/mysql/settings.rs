//! What changes the meaning of a text before any name in it is looked up.

/// Which of the two servers reads the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// MariaDB, 10.6 and later.
    MariaDb,
    /// MySQL, 8.0 and later.
    MySql,
}

/// The server as executable comments compare it: 101119 is MariaDB 10.11.19, 90704 MySQL 9.7.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerVersion {
    /// Which server.
    pub flavour: Flavour,
    /// Its number.
    pub number: u32,
}

/// The flags of `sql_mode` that change how text is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SqlMode {
    /// `"` quotes names.
    pub ansi_quotes: bool,
    /// A backslash in a string is a character like any other.
    pub no_backslash_escapes: bool,
    /// White space may stand between a built-in function and its parenthesis.
    pub ignore_space: bool,
}

impl SqlMode {
    /// Reads the value of `sql_mode`, as the server shows it or as a client sets it. `None` when it has a
    /// mode whose grammar is not read here (ORACLE, MSSQL …), or one that is not known.
    pub fn parse(value: &str) -> Option<Self> {
        let mut mode = Self::default();
        for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.to_ascii_uppercase().as_str() {
                "ANSI_QUOTES" => mode.ansi_quotes = true,
                "NO_BACKSLASH_ESCAPES" => mode.no_backslash_escapes = true,
                "IGNORE_SPACE" => mode.ignore_space = true,
                "ANSI" => {
                    mode.ansi_quotes = true;
                    mode.ignore_space = true;
                }
                // These bind operators otherwise, or concern values and not text.
                "PIPES_AS_CONCAT"
                | "HIGH_NOT_PRECEDENCE"
                | "REAL_AS_FLOAT"
                | "ONLY_FULL_GROUP_BY"
                | "NO_UNSIGNED_SUBTRACTION"
                | "NO_DIR_IN_CREATE"
                | "NO_AUTO_VALUE_ON_ZERO"
                | "STRICT_TRANS_TABLES"
                | "STRICT_ALL_TABLES"
                | "NO_ZERO_IN_DATE"
                | "NO_ZERO_DATE"
                | "ALLOW_INVALID_DATES"
                | "ERROR_FOR_DIVISION_BY_ZERO"
                | "TRADITIONAL"
                | "NO_AUTO_CREATE_USER"
                | "NO_ENGINE_SUBSTITUTION"
                | "PAD_CHAR_TO_FULL_LENGTH"
                | "TIME_TRUNCATE_FRACTIONAL"
                | "SIMULTANEOUS_ASSIGNMENT" => {}
                _ => return None,
            }
        }
        Some(mode)
    }
}

/// `character_set_client`, of which only those are read whose bytes never hide a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CharacterSet {
    /// Up to four bytes a character.
    Utf8mb4,
    /// Up to three bytes a character (`utf8`, `utf8mb3`).
    Utf8mb3,
    /// One byte a character.
    Latin1,
    /// Seven bits.
    Ascii,
    /// Bytes.
    Binary,
}

impl CharacterSet {
    /// By the server's name, whatever its case; `None` for one that is not read here: gbk, sjis, cp932, big5
    /// and gb18030 have characters whose second byte is a quote or a backslash.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "utf8mb4" => Self::Utf8mb4,
            "utf8" | "utf8mb3" => Self::Utf8mb3,
            "latin1" => Self::Latin1,
            "ascii" => Self::Ascii,
            "binary" => Self::Binary,
            _ => return None,
        })
    }
}

/// Everything that a text's meaning hangs on beside the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParseSettings {
    /// Who reads it.
    pub server: ServerVersion,
    /// How it reads quotes and backslashes.
    pub sql_mode: SqlMode,
    /// How it reads bytes.
    pub character_set: CharacterSet,
    /// Where names without a database are looked up; `None` before any USE.
    pub default_database: Option<Box<str>>,
    /// `lower_case_table_names` is not 0: names of databases and tables are compared in lower case.
    pub lower_case_table_names: bool,
}
