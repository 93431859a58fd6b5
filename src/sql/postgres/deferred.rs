//! What hangs on the values of parameters, decided once they are there.

use super::Scope;
use super::walk::{Walk, Walked, unsupported, unsupported_hint};
use crate::sql::access::Access;
use crate::sql::catalog::TypeId;
use crate::sql::statement::{Argument, Deferred, DeferredKind, NotUnderstood};

/// A value that was bound to a parameter.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// Its bytes; `None` is NULL.
    pub bytes: Option<&'a [u8]>,
    /// Whether they are in the type's binary form.
    pub binary: bool,
    /// The type that Parse declared; 0 when it left that to the server.
    pub declared: TypeId,
}

const OID: TypeId = 26;
const REGCLASS: TypeId = 2205;
const INTEGERS: [TypeId; 3] = [20, 21, 23];
/// `text`, `varchar`, `unknown`, and none.
const TEXTS: [TypeId; 4] = [25, 1043, 705, 0];

/// What a bound value says.
enum Says<'a> {
    Null,
    Text(&'a str),
    /// The number of an object.
    Number(u32),
    /// The one or the other: what the server takes it for hangs on how the statement uses it.
    Either(Option<&'a str>, u32),
}

/// What a statement needs for the values that were bound, beyond what its analysis says.
///
/// # Errors
/// When a value is missing, in a form that is not understood, or names what may not be named.
pub fn resolve(
    deferred: &Deferred,
    values: &[Bound<'_>],
    scope: &Scope<'_>,
) -> Result<Vec<Access>, NotUnderstood> {
    let mut walk = Walk::new(scope);
    let mut texts = Vec::with_capacity(deferred.arguments.len());
    for argument in &deferred.arguments {
        let says = match argument {
            Argument::Null => Says::Null,
            Argument::Literal(text) => Says::Text(text),
            Argument::Parameter(number) => bound(*number, values, deferred.kind)?,
        };
        texts.push(match says {
            Says::Null => None,
            Says::Text(text) => Some(text),
            Says::Number(number) => {
                numbered(&mut walk, deferred.kind, number, true)?;
                continue;
            }
            Says::Either(text, number) => {
                let found = numbered(&mut walk, deferred.kind, number, false)?;
                let named = text.filter(|text| walk.names_relation(text));
                if named.is_none() && !found {
                    return unsupported_hint(
                        "A parameter's value names no sequence that is known here.",
                        "Send its name as text.",
                    );
                }
                match named {
                    Some(text) => Some(text),
                    None => continue,
                }
            }
        });
    }
    if texts.len() == deferred.arguments.len() {
        walk.decided(deferred.kind, &texts)?;
    }
    Ok(walk.needs.into_accesses())
}

/// Asks for the sequence of that number; whether there is one.
fn numbered(walk: &mut Walk<'_>, kind: DeferredKind, number: u32, must: bool) -> Walked<bool> {
    let DeferredKind::Sequence(operation) = kind else { return Ok(true) };
    let Some(name) = walk.scope.catalog.sequences.get(&number) else {
        if must {
            return unsupported(format!("No sequence has the number {number} here."));
        }
        return Ok(false);
    };
    match walk.find(Some(&name.schema), &name.name)? {
        Some(target) => {
            walk.needs.whole(operation, target);
            Ok(true)
        }
        None => unsupported(format!("No sequence has the number {number} here.")),
    }
}

fn bound<'a>(number: u16, values: &[Bound<'a>], kind: DeferredKind) -> Walked<Says<'a>> {
    let refused = |what: &str| {
        unsupported_hint(
            format!("The value of ${number} {what}, and it names what the statement works on."),
            "Send it as text, or write it into the statement.",
        )
    };
    let Some(value) = values.get(usize::from(number).wrapping_sub(1)) else {
        return refused("is missing");
    };
    let Some(bytes) = value.bytes else { return Ok(Says::Null) };
    let text = std::str::from_utf8(bytes).ok();
    if kind == DeferredKind::Name {
        // Only a name can be qualified, and what is no text names nothing by its schema.
        return Ok(text.map_or(Says::Null, Says::Text));
    }
    let is_object = matches!(kind, DeferredKind::Sequence(_));
    let numeric =
        value.declared == OID || value.declared == REGCLASS || INTEGERS.contains(&value.declared);
    if !is_object || !(numeric || value.declared == 0) {
        if !TEXTS.contains(&value.declared) && value.declared != 19 {
            return refused("is of a type that is not understood here");
        }
        return match text {
            Some(text) => Ok(Says::Text(text)),
            None => refused("is not UTF-8"),
        };
    }
    if value.binary {
        let as_number = match *bytes {
            [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
            [0, 0, 0, 0, a, b, c, d] if value.declared == 20 => {
                Some(u32::from_be_bytes([a, b, c, d]))
            }
            [a, b] if value.declared == 21 => Some(u32::from(u16::from_be_bytes([a, b]))),
            _ => None,
        };
        return match (as_number, text, numeric) {
            (Some(number), _, true) => Ok(Says::Number(number)),
            (Some(number), text, false) => Ok(Says::Either(text, number)),
            (None, Some(text), false) => Ok(Says::Text(text)),
            (None, _, _) => refused("is not in a form that is understood here"),
        };
    }
    let Some(text) = text else { return refused("is not UTF-8") };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match (text.parse().ok().filter(|_| digits), value.declared) {
        (Some(number), 0 | REGCLASS) => Ok(Says::Either(Some(text), number)),
        (Some(number), _) => Ok(Says::Number(number)),
        (None, 0 | REGCLASS) => Ok(Says::Text(text)),
        (None, _) => refused("is no number"),
    }
}

impl Walk<'_> {
    /// Whether a name that a value spells out is that of a relation.
    fn names_relation(&mut self, text: &str) -> bool {
        let parts = super::special::split_name(text).unwrap_or_default();
        let found = match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [name] => self.find(None, name),
            [schema, name] | [_, schema, name] => self.find(Some(schema), name),
            _ => Ok(None),
        };
        matches!(found, Ok(Some(_)))
    }
}
