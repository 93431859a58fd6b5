//! Argument types of functions, spelled as PostgreSQL's `format_type` prints them.

use std::iter::Peekable;
use std::str::Chars;

use crate::sql::name::Quoted;

/// Most arguments, as PostgreSQL's `FUNC_MAX_ARGS` has it.
const ARGUMENTS_MAX: usize = 100;

/// Spellings that the grammar knows, and what `format_type` prints for them.
const SPELLINGS: [(&str, &str); 37] = [
    ("bigint", "bigint"),
    ("bit", "bit"),
    ("bit varying", "bit varying"),
    ("bool", "boolean"),
    ("boolean", "boolean"),
    ("bpchar", "character"),
    ("char", "character"),
    ("char varying", "character varying"),
    ("character", "character"),
    ("character varying", "character varying"),
    ("dec", "numeric"),
    ("decimal", "numeric"),
    ("double precision", "double precision"),
    ("float", "double precision"),
    ("float4", "real"),
    ("float8", "double precision"),
    ("int", "integer"),
    ("int2", "smallint"),
    ("int4", "integer"),
    ("int8", "bigint"),
    ("integer", "integer"),
    ("interval", "interval"),
    ("national char", "character"),
    ("national char varying", "character varying"),
    ("national character", "character"),
    ("national character varying", "character varying"),
    ("nchar", "character"),
    ("nchar varying", "character varying"),
    ("numeric", "numeric"),
    ("real", "real"),
    ("smallint", "smallint"),
    ("time", "time without time zone"),
    ("timestamp", "timestamp without time zone"),
    ("timestamptz", "timestamp with time zone"),
    ("timetz", "time with time zone"),
    ("varbit", "bit varying"),
    ("varchar", "character varying"),
];

/// Names in `pg_type` that `format_type` prints otherwise: these are aliases even when quoted.
const CATALOG_NAMES: [&str; 14] = [
    "bit",
    "bool",
    "bpchar",
    "float4",
    "float8",
    "int2",
    "int4",
    "int8",
    "interval",
    "numeric",
    "timestamptz",
    "timetz",
    "varbit",
    "varchar",
];

/// What may follow `interval`; anything else after it is a type whose argument is named so.
const INTERVAL_FIELDS: [&str; 13] = [
    "year",
    "month",
    "day",
    "hour",
    "minute",
    "second",
    "year to month",
    "day to hour",
    "day to minute",
    "day to second",
    "hour to minute",
    "hour to second",
    "minute to second",
];

fn spelled(words: &str) -> Option<&'static str> {
    match words {
        "time with time zone" => return Some("time with time zone"),
        "time without time zone" => return Some("time without time zone"),
        "timestamp with time zone" => return Some("timestamp with time zone"),
        "timestamp without time zone" => return Some("timestamp without time zone"),
        _ => {}
    }
    if words.strip_prefix("interval ").is_some_and(|fields| INTERVAL_FIELDS.contains(&fields)) {
        return Some("interval");
    }
    let at = SPELLINGS.binary_search_by_key(&words, |(spelling, _)| spelling).ok()?;
    SPELLINGS.get(at).map(|(_, printed)| *printed)
}

/// Brings a list of argument types, without its parentheses, into the spelling of
/// `pg_get_function_identity_arguments`: aliases resolved, lengths and precisions dropped, one `[]`
/// for an array, a comma and a space between.
///
/// # Errors
/// A sentence about what is wrong with the list.
pub fn normalise_arguments(text: &str) -> Result<Box<str>, &'static str> {
    if text.trim().is_empty() {
        return Ok("".into());
    }
    let mut chars = text.chars().peekable();
    let mut list = String::new();
    for n in 0.. {
        if n >= ARGUMENTS_MAX {
            return Err("a function has at most 100 arguments");
        }
        let (argument, more) = argument(&mut chars)?;
        if n > 0 {
            list.push_str(", ");
        }
        list.push_str(&argument);
        if !more {
            break;
        }
    }
    Ok(list.into())
}

/// A type as it is being read.
#[derive(Default)]
struct Type {
    schema: Option<String>,
    /// Unquoted words, folded, one space between.
    words: String,
    quoted: Option<String>,
    array: bool,
}

/// One type, up to its comma (true) or the end (false).
fn argument(chars: &mut Peekable<Chars<'_>>) -> Result<(String, bool), &'static str> {
    let mut found = Type::default();
    let more = loop {
        match chars.next() {
            None => break false,
            Some(',') => break true,
            Some(c) if c.is_whitespace() => {}
            Some('"') => found.quoted(read_quoted(chars)?)?,
            Some('.') => found.qualified()?,
            Some('(') => skip_to(chars, ')')?,
            Some('[') => {
                skip_to(chars, ']')?;
                found.array = true;
            }
            Some(c) if c.is_alphanumeric() || c == '_' => {
                let mut word = String::from(c.to_ascii_lowercase());
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_' || *c == '$')
                {
                    word.push(c.to_ascii_lowercase());
                }
                found.word(&word, chars)?;
            }
            Some(_) => return Err("an argument type has a character that no type has"),
        }
    };
    Ok((found.finish()?, more))
}

impl Type {
    fn word(&mut self, word: &str, chars: &mut Peekable<Chars<'_>>) -> Result<(), &'static str> {
        if self.quoted.is_some() || (self.array && word != "array") {
            return Err("write the types of the arguments only, without their names");
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let alone = chars.peek().is_none_or(|c| matches!(c, ',' | '.' | '(' | '['));
        let first = self.words.is_empty() && self.schema.is_none();
        match word {
            "out" | "table" if first && !alone => {
                Err("write the types of the input arguments only")
            }
            "in" | "inout" | "variadic" if first && !alone => Ok(()),
            "array" if !first => {
                self.array = true;
                Ok(())
            }
            _ => {
                if !self.words.is_empty() {
                    self.words.push(' ');
                }
                self.words.push_str(word);
                Ok(())
            }
        }
    }

    fn quoted(&mut self, name: String) -> Result<(), &'static str> {
        if self.quoted.is_some() || !self.words.is_empty() || self.array {
            return Err("write the types of the arguments only, without their names");
        }
        self.quoted = Some(name);
        Ok(())
    }

    fn qualified(&mut self) -> Result<(), &'static str> {
        if self.schema.is_some() || self.array {
            return Err("a type has a schema and a name at most");
        }
        let schema = self.quoted.take().unwrap_or_else(|| std::mem::take(&mut self.words));
        if schema.is_empty() || schema.contains(' ') {
            return Err("a type's schema is one name");
        }
        self.schema = Some(schema);
        Ok(())
    }

    fn finish(self) -> Result<String, &'static str> {
        let own = self.schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
        let name = match self.quoted {
            Some(name) if own && CATALOG_NAMES.contains(&name.as_str()) => {
                spelled(&name).map_or(name, str::to_owned)
            }
            // Bare, it would be read as the alias that it is not.
            Some(name) if spelled(&name).is_some() => format!("\"{name}\""),
            Some(name) => Quoted(&name).to_string(),
            None if self.words.is_empty() => return Err("an argument type is empty"),
            None if own => match spelled(&self.words) {
                Some(printed) => printed.to_owned(),
                None if self.words.contains(' ') => {
                    return Err("write the types of the arguments only, without their names");
                }
                None => Quoted(&self.words).to_string(),
            },
            None if self.words.contains(' ') => {
                return Err("write the types of the arguments only, without their names");
            }
            None if spelled(&self.words).is_some() => format!("\"{}\"", self.words),
            None => Quoted(&self.words).to_string(),
        };
        let array = if self.array { "[]" } else { "" };
        Ok(match self.schema.filter(|_| !own) {
            Some(schema) => format!("{}.{name}{array}", Quoted(&schema)),
            None => format!("{name}{array}"),
        })
    }
}

/// The rest of a quoted name, after its first mark.
fn read_quoted(chars: &mut Peekable<Chars<'_>>) -> Result<String, &'static str> {
    let mut name = String::new();
    loop {
        match chars.next() {
            Some('"') => {
                if chars.next_if_eq(&'"').is_none() {
                    break;
                }
                name.push('"');
            }
            Some(c) if !c.is_control() => name.push(c),
            _ => return Err("a quoted name of a type has no end"),
        }
    }
    if name.is_empty() { Err("a quoted name of a type is empty") } else { Ok(name) }
}

/// Over a length, precision or array bound: only digits, commas, signs and spaces.
fn skip_to(chars: &mut Peekable<Chars<'_>>, end: char) -> Result<(), &'static str> {
    loop {
        match chars.next() {
            Some(c) if c == end => return Ok(()),
            Some(c) if c.is_ascii_digit() || c.is_whitespace() || c == ',' || c == '-' => {}
            _ => return Err("a length or array bound of a type is not understood"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_sorted_for_the_search() {
        assert!(SPELLINGS.is_sorted_by_key(|(spelling, _)| *spelling));
    }

    #[test]
    fn types_are_spelled_as_format_type_prints_them() {
        for (written, printed) in [
            ("", ""),
            ("  ", ""),
            ("int", "integer"),
            ("INT4,int8 ,  bool", "integer, bigint, boolean"),
            ("varchar(20), character varying", "character varying, character varying"),
            ("numeric(10, 2)", "numeric"),
            ("decimal", "numeric"),
            ("text", "text"),
            ("timestamptz", "timestamp with time zone"),
            ("timestamp(3) with time zone", "timestamp with time zone"),
            ("timestamp", "timestamp without time zone"),
            ("time", "time without time zone"),
            ("double  precision", "double precision"),
            ("float8", "double precision"),
            ("interval day to second", "interval"),
            ("interval day to second(3)", "interval"),
            ("\"interval day\"", "\"interval day\""),
            ("\"interval \"\"day\"", "\"interval \"\"day\""),
            ("int[]", "integer[]"),
            ("int[3][4]", "integer[]"),
            ("int array", "integer[]"),
            ("variadic text[]", "text[]"),
            ("inout int", "integer"),
            ("pg_catalog.int4", "integer"),
            ("PG_CATALOG.\"int4\"", "integer"),
            ("\"char\"", "\"char\""),
            ("char", "character"),
            ("public.mood", "public.mood"),
            ("\"My\".\"Mood\"\"s\"[]", "\"My\".\"Mood\"\"s\"[]"),
            ("public.int", "public.\"int\""),
            ("jsonb", "jsonb"),
        ] {
            assert_eq!(normalise_arguments(written).as_deref(), Ok(printed), "{written}");
            assert_eq!(normalise_arguments(printed).as_deref(), Ok(printed), "{printed}");
        }
    }

    #[test]
    fn other_lists_are_refused() {
        for written in [
            ",",
            "int,",
            "a int, b text",
            "interval text",
            "out int",
            "\"a",
            "\"\"",
            "a.b.c",
            "int[",
            "numeric(a)",
            "int; drop",
            ".a",
            "a.",
            "\"a\" \"b\"",
        ] {
            assert!(normalise_arguments(written).is_err(), "{written}");
        }
        assert!(normalise_arguments(&vec!["int"; 101].join(",")).is_err());
    }
}
