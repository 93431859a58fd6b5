//! Functions of the server whose arguments name a sequence, a setting or another object. A literal is
//! decided here, a parameter when its value comes ([`Deferred`]), anything computed is refused.

use pg_raw_parse::nodes::TypeName;
use pg_raw_parse::{ConstValue, Node};

use super::settings;
use super::walk::{Walk, Walked, undefined, unsupported, unsupported_hint};
use crate::sql::access::Operation;
use crate::sql::catalog::RelationKind;
use crate::sql::statement::{Argument, Deferred, DeferredKind};

/// The string that an argument spells out, also below casts that keep it: `'x'::text::regclass`.
/// Other casts may change it: `'xy'::char(1)` is `x`.
pub(super) fn literal(node: Node<'_>) -> Option<&str> {
    match value(node)? {
        Named::Literal(text) => Some(text),
        Named::Null | Named::Parameter(_) => None,
    }
}

/// How an argument names something.
enum Named<'t> {
    Literal(&'t str),
    Null,
    Parameter(u16),
}

/// What an argument spells out; `None` when it is computed.
fn value(mut node: Node<'_>) -> Option<Named<'_>> {
    while let Node::TypeCast(cast) = node {
        if !cast.type_name().is_some_and(keeps_text) {
            return None;
        }
        node = cast.arg();
    }
    match node {
        Node::A_Const(constant) => match constant.val() {
            None => Some(Named::Null),
            Some(ConstValue::String(text)) => Some(Named::Literal(text)),
            Some(_) => None,
        },
        Node::ParamRef(parameter) => {
            u16::try_from(parameter.number).ok().filter(|n| *n > 0).map(Named::Parameter)
        }
        _ => None,
    }
}

impl From<Named<'_>> for Argument {
    fn from(named: Named<'_>) -> Self {
        match named {
            Named::Literal(text) => Self::Literal(text.into()),
            Named::Null => Self::Null,
            Named::Parameter(number) => Self::Parameter(number),
        }
    }
}

/// Whether a cast to the type leaves a string as it is.
fn keeps_text(name: &TypeName) -> bool {
    let names: Vec<&str> = name.names().iter().filter_map(|name| name.sval()).collect();
    let plain = name.typmods().is_empty() && name.array_bounds().is_empty();
    let kept = |name: &str| matches!(name, "text" | "varchar" | "regclass");
    plain
        && match names.as_slice() {
            [name] | ["pg_catalog", name] => kept(name),
            _ => false,
        }
}

/// Whether a type's values name objects, so that its input looks them up.
pub(super) fn names_objects(names: &[&str]) -> bool {
    let is = |name: &str| {
        matches!(
            name,
            "regclass"
                | "regproc"
                | "regprocedure"
                | "regoper"
                | "regoperator"
                | "regtype"
                | "regconfig"
                | "regdictionary"
                | "regcollation"
        )
    };
    matches!(names, [name] | ["pg_catalog", name] if is(name))
}

/// Takes a name apart as the server's textToQualifiedNameList does: quotes, folding, dots.
pub(super) fn split_name(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut word = String::new();
            let mut characters = quoted.char_indices();
            let mut after = None;
            while let Some((at, character)) = characters.next() {
                if character != '"' {
                    word.push(character);
                } else if quoted.get(at + 1..).is_some_and(|rest| rest.starts_with('"')) {
                    word.push('"');
                    characters.next();
                } else {
                    after = quoted.get(at + 1..);
                    break;
                }
            }
            part = word;
            rest = after?.trim_start();
        } else {
            let end = rest.find(|c: char| c == '.' || c.is_whitespace()).unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(end)?;
            part = word.to_ascii_lowercase();
            rest = after.trim_start();
        }
        // The server cuts longer names off; a relation has none so long, so that it is not found.
        if part.is_empty() || part.len() > 63 {
            return None;
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() => return Some(parts),
            None => return None,
        }
    }
}

impl<'t> Walk<'t> {
    /// The rule of a function of the server that has one of its own; whether it has.
    pub(super) fn call_special(&mut self, name: &'t str, arguments: &[Node<'t>]) -> Walked<bool> {
        let sequence = DeferredKind::Sequence;
        match (name, arguments) {
            ("nextval", [named]) => self.sequence(sequence(Operation::Usage), name, *named)?,
            ("currval" | "pg_sequence_last_value", [named]) => {
                self.sequence(sequence(Operation::Select), name, *named)?;
            }
            ("setval", [named, ..]) => self.sequence(sequence(Operation::Update), name, *named)?,
            ("current_setting", [setting] | [setting, _]) => match value(*setting) {
                Some(setting) => self.deferred(DeferredKind::ShowSetting, vec![setting.into()])?,
                None => {
                    return unsupported(
                        "current_setting() takes the setting's name as a literal or a parameter only.",
                    );
                }
            },
            ("set_config", [setting, new, _]) => self.set_config(*setting, *new)?,
            ("set_config" | "nextval" | "currval" | "setval" | "current_setting", _) => {
                return unsupported(format!("{name}() cannot be called like this."));
            }
            ("lastval", _) => {
                return unsupported_hint(
                    "lastval() does not say which sequence it reads.",
                    "Use INSERT … RETURNING, or currval('schema.sequence').",
                );
            }
            (name, arguments) => {
                let looks_up = name.starts_with("to_reg")
                    || name.starts_with("has_")
                    || name.starts_with("table_to_xml")
                    || name.starts_with("pg_") && name.contains("_size");
                if looks_up {
                    for argument in arguments {
                        self.names_object(*argument)?;
                    }
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// An argument that may name an object: its schema is looked up as the caller's.
    pub(super) fn names_object(&mut self, argument: Node<'t>) -> Walked {
        match value(argument) {
            Some(named @ (Named::Literal(_) | Named::Parameter(_))) => {
                self.deferred(DeferredKind::Name, vec![named.into()])
            }
            // The server asks for USAGE of the schema and nothing else: whoever looks up a computed name
            // learns at most whether something of that name is in the catalogs, which are there to be
            // read. So does a number. What asks for more of the caller has a rule of its own above, or is
            // among those that need EXECUTE.
            Some(Named::Null) | None => Ok(()),
        }
    }

    /// `set_config` is SET, when its setting and, where that matters, its value are known.
    fn set_config(&mut self, setting: Node<'t>, new: Node<'t>) -> Walked {
        let name = match value(setting) {
            Some(name) => Argument::from(name),
            None => match (setting, self.pinned_setting) {
                // pg_dump: set_config(name, '…', false) FROM pg_settings WHERE name = '…'.
                (Node::ColumnRef(column), Some(pinned))
                    if super::functions::words(column.fields()) == ["name"] =>
                {
                    Argument::Literal(pinned.into())
                }
                _ => {
                    return unsupported_hint(
                        "set_config() takes the setting's name as a literal or a parameter only.",
                        "Use SET.",
                    );
                }
            },
        };
        let value = value(new).map(Argument::from);
        if let Argument::Literal(name) = &name {
            let name = name.to_ascii_lowercase();
            self.sets_path |= name == "search_path";
            let literal = matches!(value, Some(Argument::Literal(_) | Argument::Null));
            let any = settings::check_set(&name, Some(&[]));
            if !literal && (any.is_ok() || value.is_none()) {
                // Fine where every value is.
                self.needs.metadata();
                return any;
            }
        } else {
            self.sets_path = true;
        }
        let Some(value) = value else {
            return unsupported_hint(
                "set_config() with a parameter as name takes no computed value.",
                "Use SET.",
            );
        };
        self.deferred(DeferredKind::SetSetting, vec![name, value])
    }

    /// A sequence whose name is an argument.
    fn sequence(&mut self, kind: DeferredKind, function: &str, argument: Node<'t>) -> Walked {
        match value(argument) {
            Some(named) => self.deferred(kind, vec![named.into()]),
            None => unsupported_hint(
                format!("{function}() takes the sequence's name as a literal or a parameter only."),
                format!("Write {function}('schema.sequence')."),
            ),
        }
    }

    /// Decides at once what hangs on no parameter, and keeps the rest for when the values come.
    fn deferred(&mut self, kind: DeferredKind, arguments: Vec<Argument>) -> Walked {
        let waits = arguments.iter().any(|argument| matches!(argument, Argument::Parameter(_)));
        if waits {
            self.needs.metadata();
            self.resolved = true;
            self.deferred.push(Deferred { kind, arguments: arguments.into() });
            return Ok(());
        }
        let texts: Vec<Option<&str>> = arguments
            .iter()
            .map(|argument| match argument {
                Argument::Literal(text) => Some(&**text),
                Argument::Null | Argument::Parameter(_) => None,
            })
            .collect();
        self.decided(kind, &texts)
    }

    /// What an access by name needs, its values known; `None` is NULL.
    pub(super) fn decided(&mut self, kind: DeferredKind, values: &[Option<&str>]) -> Walked {
        match (kind, values) {
            (DeferredKind::Sequence(operation), [Some(name)]) => {
                return self.sequence_named(operation, name);
            }
            (DeferredKind::Name, [Some(name)]) => {
                // `f(int)` and `+(int, int)` have their types behind.
                let name = name.split('(').next().unwrap_or_default();
                let parts = split_name(name).unwrap_or_default();
                if let [schema, _] | [_, schema, _] = parts.as_slice() {
                    self.uses_schema(schema);
                }
            }
            (DeferredKind::ShowSetting, [Some(name)]) => {
                if !settings::may_show(name) {
                    return unsupported(format!("The setting {name} may not be read."));
                }
            }
            (DeferredKind::SetSetting, [Some(name), value]) => {
                let name = name.to_ascii_lowercase();
                settings::check_set(&name, value.as_ref().map(std::slice::from_ref))?;
            }
            // NULL names nothing: the server answers NULL, or with an error.
            (_, _) => {}
        }
        self.needs.metadata();
        Ok(())
    }

    fn sequence_named(&mut self, operation: Operation, text: &str) -> Walked {
        let parts = split_name(text).unwrap_or_default();
        let target = match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [name] => self.find(None, name)?,
            [schema, name] | [_, schema, name] => self.find(Some(schema), name)?,
            _ => None,
        };
        let Some(target) = target else {
            return undefined("42P01", format!("relation \"{text}\" does not exist"));
        };
        if target.relation.kind != RelationKind::Sequence {
            return undefined("42809", format!("\"{}\" is not a sequence", target.name));
        }
        self.needs.whole(operation, target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::split_name;

    #[test]
    fn names_in_strings_are_split() {
        let split = |text: &str| split_name(text).map(|parts| parts.join("|"));
        assert_eq!(split("Orders_Id"), Some("orders_id".into()));
        assert_eq!(split(" public . \"O\"\"x.y\" "), Some("public|O\"x.y".into()));
        assert_eq!(split("a b"), None);
        assert_eq!(split("\"a"), None);
        assert_eq!(split("a."), None);
        assert_eq!(split(""), None);
    }
}
