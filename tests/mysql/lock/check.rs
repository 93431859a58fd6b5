//! What operators are told of a server, and that the SQL which is printed beside it mends it.

use daypass::upstream::lock::{Finding, Weight};
use daypass::upstream::mysql::accounts::check::check;

use daypass::secret::Secret;
use daypass::upstream::mysql::{Host, Target};

use super::{accounts, names, server};
use crate::house::both;
use crate::support::{Mysql, Product, products_available};

async fn found(server: &Mysql) -> Vec<Finding> {
    // Not over the socket: an anonymous account there comes before the service account, too.
    let host = Host::Tcp { name: "127.0.0.1".into(), port: server.port() };
    let target = Target::new(host, "svc", None).with_password(Some(Secret::new(Mysql::PASSWORD)));
    check(&target, Some(&names()), "%").await.unwrap()
}

fn says(findings: &[Finding]) -> String {
    findings.iter().map(|it| format!("{:?} {}\n", it.weight, it.says)).collect()
}

#[tokio::test]
async fn what_the_service_account_lacks_is_said_and_mended() {
    for product in products_available() {
        let server = server(product);
        assert_eq!(says(&found(&server).await), "", "{product:?}");
        server.sql(
            "REVOKE ALL PRIVILEGES, GRANT OPTION FROM svc@'%'; GRANT SELECT ON shop.* TO svc@'%';
            GRANT SELECT, INSERT ON my_shop.* TO svc@'%' WITH GRANT OPTION",
        );
        let findings = found(&server).await;
        let text = says(&findings);
        let mut expected = vec![
            "lacks CREATE USER ON *.*",
            "lacks SELECT ON `mysql`.*",
            "lacks CONNECTION",
            "lacks PROCESS ON *.*",
            "may give nobody SELECT on database shop",
        ];
        if product == Product::Mysql {
            expected.push("lacks SELECT ON performance_schema.user_defined_functions");
        }
        for expected in &expected {
            assert!(text.contains(expected), "{product:?} {expected}: {text}");
        }
        assert_eq!(findings.len(), expected.len(), "{text}");
        mend(&server, &findings);
        assert_eq!(says(&found(&server).await), "", "{product:?}");
    }
}

fn mend(server: &Mysql, findings: &[Finding]) {
    for finding in findings {
        if let Some(sql) = &finding.mend {
            server.sql(sql);
        }
    }
}

#[tokio::test]
async fn who_comes_before_ours_and_what_everybody_may_is_said_and_mended() {
    for product in products_available() {
        let server = server(product);
        let account = names().account("alice");
        server.sql(&format!(
            "CREATE USER `{account}`@'%'; CREATE USER `{account}`@localhost;
            CREATE USER daypass_odd@'%'; CREATE USER ''@localhost; CREATE USER ''@'%';
            GRANT SELECT ON `my\\_shop`.* TO ''@'%'; SET GLOBAL init_connect = 'DO 1'"
        ));
        server.sql(match product {
            Product::MariaDb => {
                "GRANT SELECT (id) ON shop.t TO PUBLIC; GRANT PROCESS ON *.* TO PUBLIC"
            }
            Product::Mysql => "CREATE ROLE strong; SET PERSIST mandatory_roles = 'strong'",
        });
        let findings = found(&server).await;
        let text = says(&findings);
        let account_here = format!("Error account `{account}`@`localhost` comes before");
        let mut expected = vec![
            &*account_here,
            "Error the anonymous account ``@`localhost` comes before ours",
            "Warning anybody may log in from % by the anonymous account ``@`%`",
            "Warning everybody from % has rights on database my\\_shop",
            "Note account `daypass_odd`@`%` is not of this entry and key",
            "Note init_connect runs",
        ];
        expected.extend(match product {
            Product::MariaDb => &[
                "Warning everybody has SELECT (`id`) on `shop`.`t`",
                "Warning everybody has PROCESS on *.*",
            ][..],
            Product::Mysql => &["Warning everybody has the roles strong"],
        });
        for expected in &expected {
            assert!(text.contains(expected), "{product:?} {expected}: {text}");
        }
        assert_eq!(findings.len(), expected.len(), "{text}");
        mend(&server, &findings);
        let left = found(&server).await;
        assert!(left.iter().all(|it| it.weight == Weight::Note), "{product:?} {}", says(&left));
        assert_eq!(accounts(&server).len(), 2);
    }
}

#[tokio::test]
async fn that_mariadb_takes_no_hash_of_a_password_is_said_and_mended() {
    let server = server(Product::MariaDb);
    server.sql("INSTALL SONAME 'simple_password_check'; UNINSTALL SONAME 'auth_ed25519'");
    let findings = found(&server).await;
    let text = says(&findings);
    assert!(text.contains("Error the server takes no password"), "{text}");
    assert!(
        text.contains("Note accounts prove their passwords by mysql_native_password"),
        "{text}"
    );
    mend(&server, &findings);
    assert_eq!(says(&found(&server).await), "");
}

#[test]
fn operators_are_told_by_the_command_line() {
    both(|house| {
        house.server.sql("CREATE USER ''@elsewhere");
        let output = house.daypass.cli(&["database", "check", "crm"]);
        assert_eq!(output.status, 1, "{output:?}");
        let says = "the anonymous account ``@`elsewhere` comes before ours";
        assert!(output.stderr.contains(says), "{output:?}");
        assert!(output.stderr.contains("second-lock = \"none\""), "{output:?}");
        house.server.sql(&output.stdout);
        let output = house.daypass.cli(&["database", "check", "crm"]);
        assert!(output.status == 0 && output.stdout.is_empty(), "{output:?}");
    });
}
