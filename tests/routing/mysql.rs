//! MariaDB's and MySQL's replicas.

use daypass::route::{Position, State};
use daypass::secret::Secret;
use daypass::upstream::mysql::{Host, Target};

use crate::fleet::{LAG_MAX, Watched};
use crate::support::{Mysql, Product, products_available};

fn target(server: &Mysql) -> Target {
    Target::new(Host::Unix(server.socket()), "root", None)
}

/// Writes something, and says where the primary is after that.
fn write(primary: &Mysql) -> Position {
    primary.sql("CREATE TABLE IF NOT EXISTS shop.t (n INT); INSERT INTO shop.t VALUES (1)");
    let (variable, read): (_, fn(&str) -> _) = match primary.product() {
        Product::MariaDb => ("gtid_binlog_pos", Position::mariadb),
        Product::Mysql => ("gtid_executed", Position::mysql),
    };
    // The client escapes line breaks.
    read(&primary.sql(&format!("SELECT @@GLOBAL.{variable}")).replace("\\n", "\n")).unwrap()
}

/// Statements of both, as they call them.
fn say(server: &Mysql, mariadb: &str, mysql: &str) {
    server.sql(match server.product() {
        Product::MariaDb => mariadb,
        Product::Mysql => mysql,
    });
}

fn watched(primary: &Mysql, replicas: &[&Mysql]) -> Watched {
    let replicas: Vec<_> = replicas.iter().map(|it| target(it)).collect();
    Watched::new(&target(primary), &replicas)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_has_replayed_is_known_whatever_stops_it() {
    for product in products_available() {
        let primary = Mysql::primary(product);
        let (one, two) = (primary.replica(2), primary.replica(3));
        let mut fleet = watched(&primary, &[&one, &two]);
        for _ in 0..3 {
            let position = write(&primary);
            fleet.primary(&position).await;
            fleet.covers(0, &position).await;
            fleet.covers(1, &position).await;
        }
        let delay = |seconds| {
            let [mariadb, mysql] = [
                format!("STOP SLAVE; CHANGE MASTER TO MASTER_DELAY = {seconds}; START SLAVE"),
                format!(
                    "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_DELAY = {seconds}; START REPLICA"
                ),
            ];
            move |it: &Mysql| say(it, &mariadb, &mysql)
        };
        type Act = Box<dyn Fn(&Mysql)>;
        let acts: [(&str, Act, Act); 4] = [
            (
                "paused",
                Box::new(|it| say(it, "STOP SLAVE SQL_THREAD", "STOP REPLICA SQL_THREAD")),
                Box::new(|it| say(it, "START SLAVE", "START REPLICA")),
            ),
            (
                // What it says of how far behind it is, is nothing.
                "cut",
                Box::new(|it| say(it, "STOP SLAVE IO_THREAD", "STOP REPLICA IO_THREAD")),
                Box::new(|it| say(it, "START SLAVE", "START REPLICA")),
            ),
            (
                "stopped",
                Box::new(|it| say(it, "STOP SLAVE", "STOP REPLICA")),
                Box::new(|it| say(it, "START SLAVE", "START REPLICA")),
            ),
            ("delayed", Box::new(delay(3600)), Box::new(delay(0))),
        ];
        for (what, stop, go_on) in &acts {
            stop(&one);
            let position = write(&primary);
            let behind = fleet.state(0, State::Lagging).await;
            assert!(behind.lag.is_some_and(|lag| lag > LAG_MAX), "{product:?} {what}: {behind:?}");
            let own = behind.position.unwrap();
            assert!(!own.covers(&position), "{product:?} {what}: {own} covers {position}");
            fleet.covers(1, &position).await;
            go_on(&one);
            fleet.covers(0, &position).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_ask_about_replication_still_sees_how_far_it_is() {
    for product in products_available() {
        let primary = Mysql::primary(product);
        let replica = primary.replica(2);
        let plain = |server: &Mysql| {
            let user = if product == Product::MariaDb { "native" } else { "sha2" };
            let host = Host::Tcp { name: "127.0.0.1".into(), port: server.port() };
            let target = Target::new(host, user, Some("shop".into()));
            target.with_password(Some(Secret::new(Mysql::PASSWORD)))
        };
        let mut fleet = Watched::new(&plain(&primary), &[plain(&replica)]);
        fleet.covers(0, &write(&primary)).await;
        say(&replica, "STOP SLAVE", "STOP REPLICA");
        write(&primary);
        fleet.state(0, State::Lagging).await;
    }
}
