//! `/metrics`, `/livez` and `/readyz` on a listener of their own: counts, never names of people, texts or
//! values.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::route::State;
use crate::session::news::Phase;
use crate::session::relay::Decisions;

use super::house::{Current, House};

/// What is counted.
#[derive(Default)]
pub(super) struct Metrics {
    pub(super) decisions: Decisions,
    /// The configuration was refused when it was last read again.
    pub(super) reload_refused: AtomicBool,
}

/// Serves the three pages until the process ends.
pub(super) async fn listen(
    address: SocketAddr,
    current: &Arc<Current>,
    metrics: &Arc<Metrics>,
    mut phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    let socket = tokio::net::TcpListener::bind(address).await?;
    tracing::info!(address = %socket.local_addr()?, "serving metrics");
    let (ready, counted) = (Arc::clone(current), Arc::clone(current));
    let metrics = Arc::clone(metrics);
    let pages = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move {
                match ready.load().readiness() {
                    Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
                    Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
                }
            }),
        )
        .route("/metrics", get(move || async move { page(&counted.load(), &metrics) }));
    let shutdown =
        async move { while *phase.borrow() != Phase::Ending && phase.changed().await.is_ok() {} };
    tokio::spawn(async move {
        if let Err(error) = axum::serve(socket, pages).with_graceful_shutdown(shutdown).await {
            tracing::error!(%error, "the metrics listener has ended");
        }
    });
    Ok(())
}

type Labels = Vec<(&'static str, String)>;
type Seconds = Gauge<f64, AtomicU64>;

/// Of each replica: which state it is in, and how far it is behind where that is known.
fn register_replicas(house: &House, registry: &mut Registry) {
    let (states, bytes) = (Family::<Labels, Gauge>::default(), Family::<Labels, Gauge>::default());
    let seconds = Family::<Labels, Seconds>::default();
    for entry in &house.databases {
        for replica in &entry.fleet().replicas {
            let labels = || {
                vec![
                    ("database", entry.name().to_string()),
                    ("address", replica.address.to_string()),
                ]
            };
            for state in State::ALL {
                let mut labels = labels();
                labels.push(("state", state.word().to_owned()));
                states.get_or_create(&labels).set((state == replica.state).into());
            }
            if let Some(lag) = replica.lag {
                seconds.get_or_create(&labels()).set(lag.as_secs_f64());
            }
            if let Some(lag) = replica.lag_bytes {
                bytes.get_or_create(&labels()).set(i64::try_from(lag).unwrap_or(i64::MAX));
            }
        }
    }
    registry.register("replica_state", "1 for the state that the replica is in", states);
    registry.register(
        "replica_lag_seconds",
        "How long ago the primary was where the replica is",
        seconds,
    );
    registry.register("replica_lag_bytes", "Bytes of log that the replica has not replayed", bytes);
}

/// The Prometheus text format.
fn page(house: &House, metrics: &Metrics) -> Result<String, StatusCode> {
    let mut registry = Registry::with_prefix("daypass");
    registry.register(
        "statements_allowed",
        "Statements that were sent to a server",
        metrics.decisions.allowed.clone(),
    );
    registry.register(
        "statements_denied",
        "Statements that were refused",
        metrics.decisions.denied.clone(),
    );
    registry.register(
        "statements_at_replicas",
        "Statements that a replica was sent",
        metrics.decisions.at_replicas.clone(),
    );
    registry.register(
        "reads_done_again",
        "Reads that a replica could not do, done again at the primary",
        metrics.decisions.reruns.clone(),
    );
    let statistics = house.shared.recorder.statistics();
    let gauges = [
        ("sessions", "Sessions that are open", house.registry.count() as u64),
        ("audit_records", "Audit records taken", statistics.recorded),
        ("audit_records_lost", "Audit records that did not fit", statistics.lost),
        ("audit_records_waiting", "Audit records not yet written", statistics.waiting as u64),
        (
            "audit_accepts",
            "Whether the audit stream takes records",
            u64::from(house.shared.recorder.accepts()),
        ),
        (
            "store_known",
            "Whether the store could be read lately, so that anything is allowed",
            u64::from(house.store.known().is_ok()),
        ),
        (
            "ready",
            "Whether every catalog is known and audit works",
            u64::from(house.readiness().is_ok()),
        ),
        (
            "configuration_refused",
            "Whether the configuration had mistakes when it was last read again",
            u64::from(metrics.reload_refused.load(Ordering::Relaxed)),
        ),
    ];
    for (name, help, value) in gauges {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    }
    register_replicas(house, &mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(text)
}
