//! Values in the binary protocol ("Binary Protocol Value"): parameters of executions, attributes of
//! queries. Only their ends are found and their types kept; whoever wants one reads it.

use super::capability::Capabilities;
use super::packet::{Reader, Violation};

/// What a parameter is sent as: the type's number, and whether it is unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type {
    /// `enum_field_types`.
    pub number: u8,
    /// For integers.
    pub unsigned: bool,
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// Sent before the execution, in pieces (COM_STMT_SEND_LONG_DATA).
    Long,
    /// An integer.
    Int(i64),
    /// An integer of an unsigned type.
    Unsigned(u64),
    /// FLOAT.
    Float(f32),
    /// DOUBLE.
    Double(f64),
    /// Text, bytes, decimal numbers, JSON: as they are written.
    Bytes(&'a [u8]),
    /// DATE, DATETIME, TIMESTAMP: year, month, day, and as much of hour, minute, second and
    /// microseconds as is not zero.
    Date(&'a [u8]),
    /// TIME: sign, days, hours, minutes, seconds, and microseconds if any.
    Time(&'a [u8]),
    /// MariaDB's bulk executions: the column's default.
    Default,
    /// MariaDB's bulk executions: the column is left as it is.
    Ignore,
}

const NULL: u8 = 6;

/// What a query attribute or a parameter is called, and what it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Named<'a> {
    /// Empty for a parameter of a statement's own.
    pub name: &'a [u8],
    /// Its type.
    pub r#type: Type,
    /// Its value.
    pub value: Value<'a>,
}

impl Type {
    fn read(body: &mut Reader<'_>) -> Result<Self, Violation> {
        let [number, flags] = body.array()?;
        Ok(Self { number, unsigned: flags & 0x80 != 0 })
    }

    /// Reads a value of this type, which is not NULL.
    fn value<'a>(self, body: &mut Reader<'a>) -> Result<Value<'a>, Violation> {
        Ok(match self.number {
            // TINY, BOOL
            1 | 244 => {
                let [byte] = body.array()?;
                self.integer(i64::from(byte.cast_signed()), u64::from(byte))
            }
            // SHORT, YEAR
            2 | 13 => {
                let value = body.u16()?;
                self.integer(i64::from(value.cast_signed()), u64::from(value))
            }
            // LONG, INT24
            3 | 9 => {
                let value = body.u32()?;
                self.integer(i64::from(value.cast_signed()), u64::from(value))
            }
            // LONGLONG
            8 => {
                let value = u64::from_le_bytes(body.array()?);
                self.integer(value.cast_signed(), value)
            }
            4 => Value::Float(f32::from_le_bytes(body.array()?)),
            5 => Value::Double(f64::from_le_bytes(body.array()?)),
            NULL => Value::Null,
            // TIMESTAMP, DATE, DATETIME, NEWDATE
            7 | 10 | 12 | 14 => {
                let length = body.byte()?;
                if !matches!(length, 0 | 4 | 7 | 11) {
                    return Err(body.malformed());
                }
                Value::Date(body.bytes(usize::from(length))?)
            }
            // TIME
            11 => {
                let length = body.byte()?;
                if !matches!(length, 0 | 8 | 12) {
                    return Err(body.malformed());
                }
                Value::Time(body.bytes(usize::from(length))?)
            }
            // DECIMAL, VARCHAR, BIT, VECTOR, JSON, NEWDECIMAL, ENUM, SET, the BLOBs, VAR_STRING, STRING,
            // GEOMETRY
            0 | 15 | 16 | 242 | 245..=255 => Value::Bytes(body.lenenc_bytes()?),
            _ => return Err(body.malformed()),
        })
    }

    const fn integer(self, signed: i64, unsigned: u64) -> Value<'static> {
        if self.unsigned { Value::Unsigned(unsigned) } else { Value::Int(signed) }
    }
}

/// Whether parameter `n` is NULL in a bitmap.
fn is_null(bitmap: &[u8], n: usize) -> bool {
    bitmap.get(n / 8).is_some_and(|byte| byte >> (n % 8) & 1 == 1)
}

/// Reads the attributes that stand before a query's text when the client can send such: their count,
/// and, if there are any, bitmap, types, names and values. What remains in `body` is the text.
///
/// # Errors
/// When they are malformed, or are not sent with their types in a single set, as every client does.
pub fn attributes<'a>(body: &mut Reader<'a>) -> Result<Vec<Named<'a>>, Violation> {
    let count = usize::try_from(body.lenenc()?).map_err(|_| body.malformed())?;
    let sets = body.lenenc()?;
    if sets != 1 {
        return Err(body.malformed());
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    let bitmap = body.bytes(count.div_ceil(8))?;
    if body.byte()? != 1 {
        return Err(body.malformed());
    }
    let types = types(body, count, true)?;
    values(body, bitmap, &types, &|_| false)
}

/// Reads `count` types, each with a name behind it when `named`.
fn types<'a>(
    body: &mut Reader<'a>,
    count: usize,
    named: bool,
) -> Result<Vec<(Type, &'a [u8])>, Violation> {
    // Each takes two bytes at least, so that a count that is a lie reserves nothing.
    if count > body.left() / 2 {
        return Err(body.malformed());
    }
    let mut types = Vec::with_capacity(count);
    for _ in 0..count {
        let one = Type::read(body)?;
        types.push((one, if named { body.lenenc_bytes()? } else { b"" }));
    }
    Ok(types)
}

fn values<'a>(
    body: &mut Reader<'a>,
    bitmap: &[u8],
    types: &[(Type, &'a [u8])],
    long: &dyn Fn(usize) -> bool,
) -> Result<Vec<Named<'a>>, Violation> {
    let mut values = Vec::with_capacity(types.len());
    for (n, &(one, name)) in types.iter().enumerate() {
        let value = if long(n) {
            Value::Long
        } else if is_null(bitmap, n) {
            Value::Null
        } else {
            one.value(body)?
        };
        values.push(Named { name, r#type: one, value });
    }
    Ok(values)
}

/// What the session knows of a prepared statement when it is executed.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Parameters that the server counted.
    pub parameters: u16,
    /// Types of its last execution: an execution may leave them out.
    pub types: &'a [Type],
    /// Parameters that were sent in pieces since its last execution or reset.
    pub long: &'a [u16],
}

/// Flag of COM_STMT_EXECUTE: the count of parameters, with attributes, stands in it ("COM_STMT_EXECUTE").
const COUNT_AVAILABLE: u8 = 0x08;

/// Reads what follows the head of a COM_STMT_EXECUTE: the statement's own parameters first, then
/// attributes.
///
/// # Errors
/// When it is malformed, or leaves types out that no execution told before.
pub fn parameters<'a>(
    rest: &'a [u8],
    flags: u8,
    capabilities: Capabilities,
    known: &Known<'_>,
) -> Result<Vec<Named<'a>>, Violation> {
    let mut body = Reader::new("COM_STMT_EXECUTE", rest);
    let named = capabilities.has(Capabilities::QUERY_ATTRIBUTES);
    let own = usize::from(known.parameters);
    // The flag counts for statements without parameters of their own alone.
    let counted = named && (own > 0 || flags & COUNT_AVAILABLE != 0);
    let count =
        if counted { usize::try_from(body.lenenc()?).map_err(|_| body.malformed())? } else { own };
    if count < own {
        return Err(body.malformed());
    }
    if count == 0 {
        body.end()?;
        return Ok(Vec::new());
    }
    let bitmap = body.bytes(count.div_ceil(8))?;
    let types = match body.byte()? {
        1 => types(&mut body, count, named)?,
        0 if known.types.len() == count => known.types.iter().map(|&one| (one, &b""[..])).collect(),
        _ => return Err(body.malformed()),
    };
    let long = |n: usize| u16::try_from(n).is_ok_and(|n| known.long.contains(&n));
    let values = values(&mut body, bitmap, &types, &long)?;
    body.end()?;
    Ok(values)
}

/// Flags of MariaDB's COM_STMT_BULK_EXECUTE: types stand in it, ids of new rows are wanted.
const BULK_TYPES: u16 = 128;

/// Reads what follows the head of a COM_STMT_BULK_EXECUTE: rows of values, each behind its indicator.
///
/// # Errors
/// When it is malformed, has no rows, or leaves types out that no execution told before.
pub fn bulk<'a>(
    rest: &'a [u8],
    flags: u16,
    known: &Known<'_>,
) -> Result<(Vec<Type>, Vec<Vec<Value<'a>>>), Violation> {
    let mut body = Reader::new("COM_STMT_BULK_EXECUTE", rest);
    let count = usize::from(known.parameters);
    let types: Vec<Type> = if flags & BULK_TYPES != 0 {
        types(&mut body, count, false)?.into_iter().map(|(one, _)| one).collect()
    } else {
        known.types.to_vec()
    };
    if types.len() != count || count == 0 || body.is_empty() {
        return Err(body.malformed());
    }
    let mut rows = Vec::new();
    while !body.is_empty() {
        let mut row = Vec::with_capacity(count);
        for one in &types {
            row.push(match body.byte()? {
                0 => one.value(&mut body)?,
                1 => Value::Null,
                2 => Value::Default,
                3 => Value::Ignore,
                _ => return Err(body.malformed()),
            });
        }
        rows.push(row);
    }
    Ok((types, rows))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONG: Type = Type { number: 3, unsigned: false };
    const STRING: Type = Type { number: 254, unsigned: false };

    #[test]
    fn attributes_stand_before_the_text() {
        let bytes = b"\x02\x01\x02\x01\xfe\x00\x05trace\x03\x80\x01n\x03abcSELECT 1";
        let mut body = Reader::new("COM_QUERY", bytes);
        let found = attributes(&mut body).unwrap();
        assert_eq!((found[0].name, found[0].value), (&b"trace"[..], Value::Bytes(b"abc")));
        assert_eq!((found[1].name, found[1].value), (&b"n"[..], Value::Null));
        assert_eq!(body.remainder(), b"SELECT 1");
        let mut none = Reader::new("COM_QUERY", b"\0\x01SELECT 1");
        assert_eq!((attributes(&mut none), none.remainder()), (Ok(vec![]), &b"SELECT 1"[..]));
    }

    #[test]
    fn two_sets_of_attributes_or_none_are_refused() {
        for sets in [0, 2] {
            assert!(attributes(&mut Reader::new("COM_QUERY", &[0, sets, b'x'])).is_err());
        }
        let without_types = b"\x01\x01\0\0\x05SELECT 1";
        assert!(attributes(&mut Reader::new("COM_QUERY", without_types)).is_err());
    }

    #[test]
    fn an_execution_may_leave_out_the_types_that_it_had() {
        let first = b"\0\x01\x03\0\xfe\0\x2a\0\0\0\x02hi";
        let none = Capabilities::NONE;
        let fresh = Known { parameters: 2, types: &[], long: &[] };
        let read = parameters(first, 0, none, &fresh).unwrap();
        let values: Vec<_> = read.iter().map(|one| one.value).collect();
        assert_eq!(values, [Value::Int(42), Value::Bytes(b"hi")]);
        let again = b"\x01\0\x02ho";
        assert!(parameters(again, 0, none, &fresh).is_err());
        let known = Known { types: &[LONG, STRING], ..fresh };
        let read = parameters(again, 0, none, &known).unwrap();
        assert_eq!(read[0].value, Value::Null);
        assert_eq!(read[1].value, Value::Bytes(b"ho"));
    }

    #[test]
    fn what_came_in_pieces_is_not_looked_for() {
        let known = Known { parameters: 2, types: &[], long: &[1] };
        let body = b"\0\x01\x03\0\xfe\0\x07\0\0\0";
        let read = parameters(body, 0, Capabilities::NONE, &known).unwrap();
        assert_eq!((read[0].value, read[1].value), (Value::Int(7), Value::Long));
    }

    #[test]
    fn attributes_of_an_execution_follow_its_parameters() {
        let known = Known { parameters: 1, types: &[], long: &[] };
        let body = b"\x02\0\x01\x08\x80\0\xfe\0\x02id\x01\0\0\0\0\0\0\0\x01x";
        let read = parameters(body, 8, Capabilities::QUERY_ATTRIBUTES, &known).unwrap();
        assert_eq!(read[0].value, Value::Unsigned(1));
        assert_eq!((read[1].name, read[1].value), (&b"id"[..], Value::Bytes(b"x")));
        assert_eq!(parameters(body, 0, Capabilities::QUERY_ATTRIBUTES, &known).unwrap(), read);
        let none = Known { parameters: 0, ..known };
        assert!(parameters(b"", 0, Capabilities::QUERY_ATTRIBUTES, &none).unwrap().is_empty());
        let fewer = Known { parameters: 3, ..known };
        assert!(parameters(body, 8, Capabilities::QUERY_ATTRIBUTES, &fewer).is_err());
    }

    #[test]
    fn bulk_rows_have_indicators() {
        let known = Known { parameters: 2, types: &[], long: &[] };
        let body = b"\x03\0\xfe\0\0\x01\0\0\0\0\x01a\x01\x02\0\x02\0\0\0\x03";
        let (types, rows) = bulk(body, 128, &known).unwrap();
        assert_eq!(types, [LONG, STRING]);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[1], [Value::Null, Value::Default]);
        assert_eq!(rows[2], [Value::Int(2), Value::Ignore]);
        assert!(bulk(b"", 0, &known).is_err());
    }

    #[test]
    fn values_end_where_their_types_say() {
        for (number, bytes) in [
            (1, &[1][..]),
            (2, &[1, 0]),
            (4, &[0; 4]),
            (5, &[0; 8]),
            (12, b"\x07\xea\x07\x0b\x18\x0a\x00\x00"),
            (11, b"\x00"),
            (246, b"\x041.50"),
        ] {
            let known = Known { parameters: 1, types: &[], long: &[] };
            let mut body = vec![0, 1, number, 0];
            body.extend_from_slice(bytes);
            assert!(parameters(&body, 0, Capabilities::NONE, &known).is_ok(), "{number}");
            body.push(0);
            assert!(parameters(&body, 0, Capabilities::NONE, &known).is_err(), "{number}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(body: Vec<u8>, parameters_count: u16, flags: u8) {
            let known = Known { parameters: parameters_count, types: &[LONG], long: &[0] };
            let _ = attributes(&mut Reader::new("COM_QUERY", &body));
            let _ = parameters(&body, flags, Capabilities::QUERY_ATTRIBUTES, &known);
            let _ = bulk(&body, u16::from(flags), &known);
        }
    }
}
