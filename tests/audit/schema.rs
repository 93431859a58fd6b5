use std::sync::Arc;

use daypass::audit::encode::Encoder;
use daypass::audit::record::{Client, Needs, Outcome, Parameter, RelationUse};
use daypass::audit::redact::opaque;
use daypass::audit::rendered::Rendered;
use daypass::sql::Engine;
use daypass::sql::statement::Class;
use serde_json::json;

use super::validator::validate;
use super::*;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../config/audit-record.schema.json")).unwrap()
}

fn line(record: &AuditRecord) -> Value {
    let mut line = Vec::new();
    let mut chain = Chain::START;
    chain.append(Encoder::default().encode(record).unwrap(), &mut line);
    serde_json::from_slice(&line).unwrap()
}

/// A record in which every field is there.
fn full() -> AuditRecord {
    let described = |form| Parameter::Described { form, length: 3, value: Some("00ff0a".into()) };
    let who = Who {
        token: Some("t_abcdefghijkl".into()),
        engine: Some(Engine::Postgres),
        client: Some(Arc::new(Client {
            address: "127.0.0.1:50000".into(),
            application: Some("psql".into()),
        })),
        ..who("s_abcdefghijkl")
    };
    let needs = Needs {
        relations: vec![RelationUse {
            name: "public.orders".into(),
            mode: "select".into(),
            columns: vec!["id".into()],
        }],
        accesses: vec!["SELECT (id) ON public.orders".into()],
    };
    AuditRecord {
        who: Some(Arc::new(Rendered::new(who))),
        actor: Some("local:root".into()),
        grants: ["g_abcdefghijkl".into()].into(),
        request: Some("r_abcdefghijkl".into()),
        reason: Some("INC-42".into()),
        parameters: [
            Parameter::Null,
            Parameter::Value("x".into()),
            described("binary"),
            described("hashed"),
            Parameter::Described { form: "omitted", length: 0, value: None },
            Parameter::Described { form: "cut", length: 0, value: None },
        ]
        .into(),
        class: Some(Class::Read),
        command: Some("SELECT"),
        needs: Some(Arc::new(Rendered::new(needs))),
        missing: vec!["SELECT (id) ON public.orders".into()],
        backend: Some("127.0.0.1:5432".into()),
        route: Some("primary"),
        rule: Some("it only reads".into()),
        rows: Some(0),
        bytes: Some(0),
        duration_us: Some(0),
        sqlstate: Some("42501".into()),
        outcome: Some(Outcome::Error),
        privileges: vec!["READ ON SCHEMA public".into()],
        expires: Some(Timestamp::from_micros(1)),
        event: Some("created"),
        second_lock: Some("none"),
        lost: Some(1),
        ..decision(1)
    }
}

const KINDS: [Kind; 12] = [
    Kind::SessionStart,
    Kind::SessionEnd,
    Kind::LoginRefused,
    Kind::Decision,
    Kind::Result,
    Kind::Grant,
    Kind::Request,
    Kind::Token,
    Kind::Explain,
    Kind::Configuration,
    Kind::Recorder,
    Kind::Gap,
];

#[test]
fn records_of_every_kind_are_as_the_schema_says() {
    for kind in KINDS {
        let record = line(&AuditRecord { kind, ..full() });
        assert_eq!(validate(&schema(), &record), Vec::<String>::new());
    }
    for verdict in [Verdict::Allow, Verdict::Deny] {
        let record = AuditRecord { decision: Some(verdict), text: Some(opaque(b"x")), ..full() };
        assert_eq!(validate(&schema(), &line(&record)), Vec::<String>::new());
    }
    for outcome in [Outcome::Ok, Outcome::Error, Outcome::Cancelled, Outcome::Unknown] {
        let record = AuditRecord { outcome: Some(outcome), ..full() };
        assert_eq!(validate(&schema(), &line(&record)), Vec::<String>::new());
    }
    for class in [Class::Read, Class::Write, Class::Ddl, Class::Role, Class::Function, Class::Misc]
    {
        let record = AuditRecord { class: Some(class), ..full() };
        assert_eq!(validate(&schema(), &line(&record)), Vec::<String>::new());
    }
}

/// Readers may meet fields that they do not know; the schema here may not.
#[test]
fn the_schema_and_the_record_have_the_same_fields() {
    let (schema, record) = (schema(), line(&full()));
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&schema["properties"]), names(&record));
}

#[test]
fn every_kind_has_its_rule_and_lacking_fields_are_found() {
    let schema = schema();
    assert_eq!(schema["allOf"].as_array().unwrap().len(), KINDS.len());
    for kind in KINDS {
        let bare = line(&AuditRecord::new(kind, Timestamp::from_micros(1)));
        assert_ne!(validate(&schema, &bare), Vec::<String>::new(), "{bare}");
    }
    let mut record = line(&full());
    for (field, wrong) in [
        ("version", json!(2)),
        ("previous", json!("abc")),
        ("time", json!("yesterday")),
        ("text", json!({"length": 1})),
        ("parameters", json!([1])),
        ("rows", json!(-1)),
        ("client", json!({"address": "x", "password": "y"})),
        ("kind", json!("other")),
    ] {
        let right = std::mem::replace(&mut record[field], wrong);
        assert_ne!(validate(&schema, &record), Vec::<String>::new(), "{field}");
        record[field] = right;
    }
    assert_eq!(validate(&schema, &record), Vec::<String>::new());
}

/// What the recorder itself writes is held to it, too.
#[tokio::test]
async fn the_recorders_own_records_are_as_the_schema_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    std::fs::write(&path, b"{\"version\":1,\"seq").unwrap();
    let recorder = open(&path);
    recorder.record(&decision(1));
    recorder.reopen();
    close(recorder).await;
    for record in records(&path) {
        assert_eq!(validate(&schema(), &record), Vec::<String>::new());
    }
}
