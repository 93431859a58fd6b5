//! As much of JSON Schema 2020-12 as the audit record's schema uses. Key words that are not known
//! here fail, so that the schema cannot outgrow what is checked.

use serde_json::{Map, Value};

/// What is wrong with `value`, with where in it; nothing when it is valid.
pub fn validate(schema: &Value, value: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    Validator { root: schema }.check(schema, value, "", &mut errors);
    errors
}

struct Validator<'a> {
    root: &'a Value,
}

impl Validator<'_> {
    fn is_valid(&self, schema: &Value, value: &Value) -> bool {
        let mut errors = Vec::new();
        self.check(schema, value, "", &mut errors);
        errors.is_empty()
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, errors: &mut Vec<String>) {
        let schema = schema.as_object().expect("a schema is an object");
        for (keyword, wanted) in schema {
            let holds = match keyword.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" | "format" | "then" => true,
                "$ref" => {
                    let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                    self.check(self.root.pointer(pointer).unwrap(), value, at, errors);
                    true
                }
                "type" => has_type(value, wanted.as_str().unwrap()),
                "const" => value == wanted,
                "enum" => wanted.as_array().unwrap().contains(value),
                "pattern" => value.as_str().is_none_or(|text| {
                    regex::Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text)
                }),
                "minLength" => value
                    .as_str()
                    .is_none_or(|text| text.chars().count() as u64 >= wanted.as_u64().unwrap()),
                "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
                "required" => value.as_object().is_none_or(|object| {
                    wanted
                        .as_array()
                        .unwrap()
                        .iter()
                        .all(|it| object.contains_key(it.as_str().unwrap()))
                }),
                "properties" | "additionalProperties" => {
                    self.check_properties(schema, keyword, value, at, errors)
                }
                "items" => {
                    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(wanted, item, &format!("{at}/{n}"), errors);
                    }
                    true
                }
                "oneOf" => {
                    let ways = wanted.as_array().unwrap().iter();
                    ways.filter(|way| self.is_valid(way, value)).count() == 1
                }
                "allOf" => {
                    for each in wanted.as_array().unwrap() {
                        self.check(each, value, at, errors);
                    }
                    true
                }
                "if" => {
                    if self.is_valid(wanted, value) {
                        self.check(&schema["then"], value, at, errors);
                    }
                    true
                }
                other => panic!("{other} is not known to this validator"),
            };
            if !holds {
                errors.push(format!("{at}: {keyword} {wanted} does not hold for {value}"));
            }
        }
    }

    fn check_properties(
        &self,
        schema: &Map<String, Value>,
        keyword: &str,
        value: &Value,
        at: &str,
        errors: &mut Vec<String>,
    ) -> bool {
        let (Some(object), Some(properties)) =
            (value.as_object(), schema["properties"].as_object())
        else {
            return true;
        };
        if keyword == "additionalProperties" {
            return schema[keyword] == true || object.keys().all(|it| properties.contains_key(it));
        }
        for (name, schema) in properties {
            if let Some(value) = object.get(name) {
                self.check(schema, value, &format!("{at}/{name}"), errors);
            }
        }
        true
    }
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("type {other} is not known to this validator"),
    }
}
