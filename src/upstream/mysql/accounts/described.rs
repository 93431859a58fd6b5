//! How a server describes an account: `mysql.user` of MySQL, a JSON text on MariaDB.

use serde_json::Value;

/// An account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// By which plugin it proves its password.
    pub plugin: String,
    /// What the server keeps for that.
    pub verifier: String,
    /// Nobody logs in as it.
    pub locked: bool,
    /// It has no other condition and no limit, and its password does not expire.
    pub plain: bool,
    /// It has another way in, or roles by default.
    pub strange: bool,
}

/// What `mysql.user` says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns<'a> {
    /// `plugin`.
    pub plugin: &'a str,
    /// `authentication_string`.
    pub verifier: &'a str,
    /// `account_locked`.
    pub locked: bool,
    /// `password_expired`.
    pub expired: bool,
    /// `password_lifetime`: 0 is never, nothing is as the server has it.
    pub lifetime: Option<&'a str>,
    /// `ssl_type`.
    pub ssl: &'a str,
    /// All limits together.
    pub limits: &'a str,
    /// `user_attributes`: JSON.
    pub attributes: Option<&'a str>,
}

/// Of MySQL.
pub fn mysql(columns: &Columns<'_>) -> Described {
    let attributes = columns.attributes.filter(|text| !text.is_empty()).map(serde_json::from_str);
    let (mut strange, mut waits) = (false, false);
    match attributes {
        None => {}
        Some(Ok(Value::Object(attributes))) => {
            for key in attributes.keys() {
                match key.as_str() {
                    // Words of whoever made it, and what it may not.
                    "metadata" | "Restrictions" => {}
                    "Password_locking" => waits = true,
                    _ => strange = true,
                }
            }
        }
        Some(_) => strange = true,
    }
    let plain = !columns.expired
        && columns.lifetime == Some("0")
        && columns.ssl.is_empty()
        && columns.limits == "0"
        && !waits;
    Described {
        plugin: columns.plugin.to_owned(),
        verifier: columns.verifier.to_owned(),
        locked: columns.locked,
        plain,
        strange,
    }
}

/// Of MariaDB: `mysql.global_priv.priv`. What is not understood fits nothing.
pub fn mariadb(priv_: &str) -> Described {
    let Ok(Value::Object(found)) = serde_json::from_str(priv_) else {
        return Described { strange: true, ..Described::default() };
    };
    let text = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |key: &str| found.get(key).map(|it| it.as_f64().unwrap_or(f64::NAN));
    let none = |key: &str| number(key).is_none_or(|it| it == 0.0);
    let is = |key: &str| found.get(key).is_some_and(|it| *it != Value::Bool(false));
    const LIMITS: [&str; 6] = [
        "ssl_type",
        "max_questions",
        "max_updates",
        "max_connections",
        "max_user_connections",
        "max_statement_time",
    ];
    let expires = number("password_lifetime") != Some(0.0)
        // What PASSWORD EXPIRE leaves behind.
        || number("password_last_changed") == Some(0.0);
    Described {
        plugin: text("plugin"),
        verifier: text("authentication_string"),
        locked: is("account_locked"),
        plain: LIMITS.into_iter().all(none) && !expires,
        strange: is("auth_or") || is("is_role") || !text("default_role").is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_account_of_mysql_is_held_to_is_seen() {
        let plain = Columns { plugin: "p", lifetime: Some("0"), limits: "0", ..Columns::default() };
        assert!(mysql(&plain).plain && !mysql(&plain).strange && !mysql(&plain).locked);
        let odd = [
            Columns { expired: true, ..plain },
            Columns { lifetime: None, ..plain },
            Columns { lifetime: Some("90"), ..plain },
            Columns { ssl: "ANY", ..plain },
            Columns { limits: "1", ..plain },
            Columns { attributes: Some("{\"Password_locking\": {}}"), ..plain },
        ];
        for columns in odd {
            assert!(!mysql(&columns).plain && !mysql(&columns).strange, "{columns:?}");
        }
        for (attributes, strange) in [
            ("{\"metadata\": {\"comment\": \"x\"}}", false),
            ("{\"additional_password\": \"$A$\"}", true),
            ("{\"multi_factor_authentication\": []}", true),
            ("no JSON", true),
        ] {
            let described = mysql(&Columns { attributes: Some(attributes), ..plain });
            assert_eq!((described.strange, described.plain), (strange, true), "{attributes}");
        }
    }

    #[test]
    fn what_an_account_of_mariadb_is_held_to_is_seen() {
        let with = |more: &str| {
            mariadb(&format!(
                "{{\"access\":0,\"version_id\":101119,\"plugin\":\"ed25519\",\
                 \"authentication_string\":\"v\",\"ssl_type\":0,\"max_statement_time\":0.000000,\
                 \"password_last_changed\":17,\"password_lifetime\":0{more}}}"
            ))
        };
        let plain = with("");
        assert!(plain.plain && !plain.strange && !plain.locked, "{plain:?}");
        assert_eq!((&*plain.plugin, &*plain.verifier), ("ed25519", "v"));
        assert!(with(",\"account_locked\":true").locked);
        assert!(!with(",\"account_locked\":false").locked);
        for odd in [
            ",\"ssl_type\":1",
            ",\"max_questions\":3",
            ",\"max_statement_time\":0.5",
            ",\"password_lifetime\":7",
            ",\"password_last_changed\":0",
        ] {
            assert!(!with(odd).plain && !with(odd).strange, "{odd}");
        }
        for odd in [",\"auth_or\":[{}]", ",\"default_role\":\"r\"", ",\"is_role\":true"] {
            assert!(with(odd).strange, "{odd}");
        }
        assert!(mariadb("no JSON").strange);
    }
}
