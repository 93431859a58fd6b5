//! One step of the second lock, and its SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::acl::Right;
use super::service::Service;
use crate::sql::access::Object;
use crate::time::Timestamp;

/// The version from which a membership says whether it inherits and may be assumed.
pub const OPTIONS_SINCE: u32 = 160_000;

/// Objects in one GRANT: one that fails is tried again object by object.
const OBJECTS_MAX: usize = 100;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes the role of a set.
    CreateSet {
        /// Its name.
        role: String,
    },
    /// Makes the role between login roles and the `ddl-owner`.
    CreateDdl {
        /// Its name.
        role: String,
    },
    /// Has a role inherit nothing.
    Bare {
        /// The role.
        role: String,
    },
    /// Lets a member become a role, without any of its rights before.
    Lead {
        /// The role.
        role: String,
        /// Who.
        member: String,
    },
    /// Makes a login role that cannot log in yet.
    CreateLogin {
        /// Its name.
        role: String,
    },
    /// Lets the service account end the role's sessions.
    Serve {
        /// The role.
        role: String,
    },
    /// Lets a role log in, with its password set anew.
    Open {
        /// The role.
        role: String,
        /// Until when.
        valid_until: Timestamp,
    },
    /// No more logins.
    Close {
        /// The role.
        role: String,
    },
    /// Takes attributes away that no role of ours may have.
    Disarm {
        /// The role.
        role: String,
    },
    /// Forgets a role's settings.
    ResetSettings {
        /// The role.
        role: String,
    },
    /// Gives a role a setting.
    Set {
        /// The role.
        role: String,
        /// In this database only.
        in_database: bool,
        /// Which.
        name: Box<str>,
        /// Its value as `pg_db_role_setting` has it.
        value: Box<str>,
    },
    /// Opens a grant.
    Join {
        /// The set.
        set: String,
        /// The login role.
        member: String,
    },
    /// Ends a membership.
    Leave {
        /// Of which role.
        role: String,
        /// Whose.
        member: String,
    },
    /// Gives a role rights.
    Grant(Rights),
    /// Takes rights away.
    Revoke(Rights),
    /// Forgets a role.
    Drop {
        /// The role.
        role: String,
    },
}

/// The same rights on some objects of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Whose.
    pub role: String,
    /// `SELECT, UPDATE ("status")`.
    pub words: String,
    /// On which, never none.
    pub objects: Vec<Object>,
    /// The rights one by one.
    pub each: BTreeSet<Right>,
}

/// What gives a role rights.
pub fn grants<'a>(
    role: &str,
    rights: impl Iterator<Item = &'a Right>,
) -> impl Iterator<Item = Action> {
    gather(role, rights).into_iter().map(Action::Grant)
}

/// What takes rights from a role.
pub fn revokes<'a>(
    role: &str,
    rights: impl Iterator<Item = &'a Right>,
) -> impl Iterator<Item = Action> {
    gather(role, rights).into_iter().map(Action::Revoke)
}

fn gather<'a>(role: &str, rights: impl Iterator<Item = &'a Right>) -> Vec<Rights> {
    let mut by_object: BTreeMap<&Object, Vec<&Right>> = BTreeMap::new();
    for right in rights {
        by_object.entry(&right.object).or_default().push(right);
    }
    type OnObject<'a> = (&'a Object, Vec<&'a Right>);
    let mut alike: BTreeMap<(&str, String), Vec<OnObject<'_>>> = BTreeMap::new();
    for (object, rights) in by_object {
        alike.entry((kind(object), words(&rights))).or_default().push((object, rights));
    }
    let mut gathered = Vec::new();
    for ((_, words), objects) in alike {
        gathered.extend(objects.chunks(OBJECTS_MAX).map(|chunk| Rights {
            role: role.to_owned(),
            words: words.clone(),
            objects: chunk.iter().map(|(object, _)| (*object).clone()).collect(),
            each: chunk.iter().flat_map(|(_, rights)| rights).map(|&right| right.clone()).collect(),
        }));
    }
    gathered
}

/// Whole rights, and with columns those on columns.
fn words(rights: &[&Right]) -> String {
    let mut words: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for right in rights {
        words.entry(right.keyword).or_default().extend(right.column.as_deref());
    }
    let words = words.into_iter().map(|(keyword, columns)| {
        let columns: Vec<_> = columns.into_iter().map(name).collect();
        let list =
            if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
        format!("{keyword}{list}")
    });
    words.collect::<Vec<_>>().join(", ")
}

const fn kind(object: &Object) -> &'static str {
    match object {
        Object::Database => "DATABASE",
        Object::Schema(_) => "SCHEMA",
        Object::Relation(_) => "TABLE",
        Object::Sequence(_) => "SEQUENCE",
        Object::Function { .. } => "ROUTINE",
        Object::Procedure(_) => "PROCEDURE",
    }
}

impl Rights {
    /// The same, object by object; nothing when there is but one.
    pub fn apart(&self) -> Vec<Self> {
        if self.objects.len() < 2 {
            return Vec::new();
        }
        let alone = |object: &Object| Self {
            objects: vec![object.clone()],
            each: self.each.iter().filter(|right| right.object == *object).cloned().collect(),
            ..self.clone()
        };
        self.objects.iter().map(alone).collect()
    }

    fn on(&self, service: &Service) -> String {
        let kind = self.objects.first().map_or("", kind);
        let objects = self.objects.iter().map(|object| match object {
            Object::Database => name(&service.database),
            Object::Schema(schema) => name(schema),
            Object::Relation(it) | Object::Sequence(it) | Object::Procedure(it) => {
                format!("{}.{}", name(&it.schema), name(&it.name))
            }
            // As the server spelled them under a path of pg_catalog alone.
            Object::Function { name: it, arguments } => {
                format!("{}.{}({arguments})", name(&it.schema), name(&it.name))
            }
        });
        format!("{} ON {kind} {}", self.words, objects.collect::<Vec<_>>().join(", "))
    }
}

impl Action {
    /// The role that cannot be used when this fails: any session of it, or of its members.
    pub fn needed_by(&self) -> Option<&str> {
        match self {
            Self::CreateSet { role }
            | Self::CreateLogin { role }
            | Self::Open { role, .. }
            | Self::Disarm { role } => Some(role),
            Self::Join { member, .. } => Some(member),
            _ => None,
        }
    }

    /// Its statement. `verifier` makes what the server keeps of a login role's password.
    pub fn sql(&self, service: &Service, verifier: impl FnOnce(&str) -> String) -> String {
        let options = service.server_version >= OPTIONS_SINCE;
        let inherits = if options { " WITH INHERIT TRUE, SET FALSE" } else { "" };
        match self {
            Self::CreateSet { role } => format!("CREATE ROLE {} NOLOGIN", name(role)),
            Self::CreateLogin { role } => format!("CREATE ROLE {} NOLOGIN INHERIT", name(role)),
            Self::CreateDdl { role } => format!("CREATE ROLE {} NOLOGIN NOINHERIT", name(role)),
            Self::Bare { role } => format!("ALTER ROLE {} NOINHERIT", name(role)),
            Self::Lead { role, member } => {
                let bare = if options { " WITH INHERIT FALSE, SET TRUE" } else { "" };
                format!("GRANT {} TO {}{bare}", name(role), name(member))
            }
            Self::Serve { role } => {
                format!("GRANT {} TO {}{inherits}", name(role), name(&service.name))
            }
            Self::Open { role, valid_until } => format!(
                "ALTER ROLE {} LOGIN INHERIT CONNECTION LIMIT -1 PASSWORD {} VALID UNTIL '{valid_until}'",
                name(role),
                literal(&verifier(role))
            ),
            Self::Close { role } => format!("ALTER ROLE {} NOLOGIN", name(role)),
            Self::Disarm { role } => {
                let strongest =
                    if service.superuser { " NOSUPERUSER NOREPLICATION NOBYPASSRLS" } else { "" };
                format!("ALTER ROLE {} NOCREATEROLE NOCREATEDB{strongest}", name(role))
            }
            Self::ResetSettings { role } => format!(
                "ALTER ROLE {0} RESET ALL; ALTER ROLE {0} IN DATABASE {1} RESET ALL",
                name(role),
                name(&service.database)
            ),
            Self::Set { role, in_database, name: setting, value } => {
                let mut sql = format!("ALTER ROLE {}", name(role));
                if *in_database {
                    // A String takes everything.
                    let _ = write!(sql, " IN DATABASE {}", name(&service.database));
                }
                let value = if is_list(setting) { value.to_string() } else { literal(value) };
                let _ = write!(sql, " SET {} TO {value}", setting_name(setting));
                sql
            }
            Self::Join { set, member } => {
                format!("GRANT {} TO {}{inherits}", name(set), name(member))
            }
            Self::Leave { role, member } => {
                format!("REVOKE {} FROM {}", name(role), name(member))
            }
            Self::Grant(rights) => {
                format!("GRANT {} TO {}", rights.on(service), name(&rights.role))
            }
            Self::Revoke(rights) => {
                format!("REVOKE {} FROM {}", rights.on(service), name(&rights.role))
            }
            Self::Drop { role } => format!("DROP ROLE {}", name(role)),
        }
    }
}

/// Settings whose value is a list that the server has already quoted (`GUC_LIST_QUOTE`; pg_dump knows
/// the same ones).
fn is_list(setting: &str) -> bool {
    matches!(
        setting,
        "local_preload_libraries"
            | "search_path"
            | "session_preload_libraries"
            | "shared_preload_libraries"
            | "temp_tablespaces"
            | "unix_socket_directories"
    )
}

/// A setting may have a prefix with a dot.
fn setting_name(setting: &str) -> String {
    setting.split('.').map(name).collect::<Vec<_>>().join(".")
}

/// An identifier in quotes.
pub fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A string literal; `standard_conforming_strings` is on in all that we log in to.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::name::QualifiedName;

    fn right(relation: &str, keyword: &'static str, column: Option<&str>) -> Right {
        let object = Object::Relation(QualifiedName::new("public", relation));
        Right { object, keyword, column: column.map(Box::from) }
    }

    fn service(server_version: u32) -> Service {
        Service {
            name: "svc".into(),
            database: "shop".into(),
            server_version,
            ..Service::default()
        }
    }

    #[test]
    fn rights_that_are_alike_share_a_statement() {
        let rights = [
            right("a", "SELECT", None),
            right("b\"", "SELECT", None),
            right("c", "SELECT", Some("id")),
            right("c", "SELECT", Some("It")),
            right("c", "DELETE", None),
        ];
        let sql: Vec<_> = grants("r", rights.iter())
            .map(|action| action.sql(&service(150_000), str::to_owned))
            .collect();
        assert_eq!(
            sql,
            [
                "GRANT DELETE, SELECT (\"id\", \"It\") ON TABLE \"public\".\"c\" TO \"r\"",
                "GRANT SELECT ON TABLE \"public\".\"a\", \"public\".\"b\"\"\" TO \"r\"",
            ]
        );
        let many = (0..250).map(|n| right(&format!("t{n}"), "SELECT", None)).collect::<Vec<_>>();
        let actions: Vec<_> = revokes("r", many.iter()).collect();
        assert_eq!(actions.len(), 3);
        let Action::Revoke(first) = &actions[0] else { panic!("{actions:?}") };
        assert_eq!(first.apart().len(), 100);
        assert!(first.apart().iter().all(|one| one.each.len() == 1 && one.apart().is_empty()));
    }

    #[test]
    fn a_membership_says_that_it_only_inherits_where_it_can() {
        let join = Action::Join { set: "s".into(), member: "m".into() };
        let sql = |version| join.sql(&service(version), str::to_owned);
        assert_eq!(sql(150_018), "GRANT \"s\" TO \"m\"");
        assert_eq!(sql(160_000), "GRANT \"s\" TO \"m\" WITH INHERIT TRUE, SET FALSE");
    }

    #[test]
    fn a_setting_is_written_as_the_server_keeps_it() {
        let set = |in_database, name: &str, value: &str| {
            let action = Action::Set {
                role: "r".into(),
                in_database,
                name: name.into(),
                value: value.into(),
            };
            action.sql(&service(150_000), str::to_owned)
        };
        assert_eq!(
            set(true, "search_path", "\"$user\", public"),
            "ALTER ROLE \"r\" IN DATABASE \"shop\" SET \"search_path\" TO \"$user\", public"
        );
        assert_eq!(set(false, "a.b", "it's"), "ALTER ROLE \"r\" SET \"a\".\"b\" TO 'it''s'");
    }
}
