//! PostgreSQL's standbys.

use std::process::Command;
use std::time::Duration;

use daypass::route::{Ceilings, Position, Seen, State};
use daypass::upstream::{Host, Target};

use crate::fleet::Watched;
use crate::support::{Options, Postgres, run, versions_available};

fn target(server: &Postgres) -> Target {
    let host = Host::Tcp { name: "127.0.0.1".into(), port: server.port() };
    Target::new(host, "postgres", "postgres")
}

/// Writes something, and says where the primary is after that.
fn write(primary: &Postgres) -> Position {
    primary.sql("CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t VALUES (1)");
    Position::lsn(&primary.sql("SELECT pg_current_wal_insert_lsn()")).unwrap().end_of_record()
}

fn watched(primary: &Postgres, replicas: &[&Postgres]) -> Watched {
    let replicas: Vec<_> = replicas.iter().map(|it| target(it)).collect();
    Watched::new(&target(primary), &replicas)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceiling_in_bytes_counts_by_itself() {
    let primary = Postgres::start(Options::default());
    let replica = primary.standby();
    let ceilings = Ceilings { lag: Duration::from_secs(3600), bytes: Some(64 << 10) };
    let mut fleet = Watched::within(&target(&primary), &[target(&replica)], ceilings);
    fleet.covers(0, &write(&primary)).await;
    replica.sql("SELECT pg_wal_replay_pause()");
    fleet.primary(&write(&primary)).await;
    assert_eq!(fleet.now().replicas[0].state, State::Serving);
    primary.sql("INSERT INTO t SELECT generate_series(1, 10000)");
    let behind = fleet.state(0, State::Lagging).await;
    assert!(behind.lag_bytes.is_some_and(|bytes| bytes > 64 << 10), "{behind:?}");
    replica.sql("SELECT pg_wal_replay_resume()");
    fleet.state(0, State::Serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_end_hang_and_change_their_role_are_noticed() {
    let mut primary = Postgres::start(Options::default());
    let (mut one, two) = (primary.standby(), primary.standby());
    let mut fleet = watched(&primary, &[&one, &two]);
    fleet.covers(0, &write(&primary)).await;
    one.crash();
    fleet.state(0, State::Down).await;
    one.start_again();
    fleet.state(0, State::Serving).await;

    // It takes connections and answers nothing.
    let signal = |signal: &str| {
        let backends = two.id();
        let children = run(Command::new("pgrep").args(["-P", &backends.to_string()]), "").stdout;
        let all = std::iter::once(backends.to_string()).chain(children.lines().map(str::to_owned));
        run(Command::new("kill").arg(format!("-{signal}")).args(all), "").expect_success();
    };
    signal("STOP");
    fleet.state(1, State::Down).await;
    assert_eq!(fleet.now().replicas[0].state, State::Serving);
    signal("CONT");
    fleet.state(1, State::Serving).await;

    // While the primary is silent, nobody knows what it writes.
    primary.crash();
    fleet.seen(|seen| *seen == Seen::Down).await;
    fleet.state(0, State::Lagging).await;
    primary.start_again();
    fleet.covers(0, &write(&primary)).await;
    fleet.covers(1, &write(&primary)).await;

    two.sql("SELECT pg_promote()");
    let promoted = fleet.state(1, State::NotReplica).await;
    assert_eq!((promoted.position, promoted.lag), (None, None));
    fleet.covers(0, &write(&primary)).await;
    // Who is taken for the primary and is a standby takes no writes.
    let mut demoted = watched(&one, &[&primary]);
    demoted.seen(|seen| *seen == Seen::Following).await;
    demoted.state(0, State::NotReplica).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_of_another_cluster_is_no_replica() {
    // Those of one version are copies of one cluster.
    let older = versions_available().into_iter().next().unwrap();
    let primary = Postgres::start(Options::default());
    assert!(older.major < primary.major(), "one version alone: run scripts/install servers");
    let other = Postgres::start(Options { version: Some(older), ..Options::default() });
    let (own, stranger) = (primary.standby(), other.standby());
    let mut fleet = watched(&primary, &[&own, &stranger]);
    fleet.covers(0, &write(&primary)).await;
    fleet.state(1, State::NotReplica).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_ends_with_the_last_who_follows() {
    let primary = Postgres::start(Options::default());
    let replica = primary.standby();
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'daypass'";
    let mut fleet = watched(&primary, &[&replica]);
    fleet.covers(0, &write(&primary)).await;
    assert_eq!((&*primary.sql(connections), &*replica.sql(connections)), ("1", "1"));
    drop(fleet);
    crate::support::eventually("the connections to end", || {
        (primary.sql(connections) == "0" && replica.sql(connections) == "0").then_some(())
    });
}
