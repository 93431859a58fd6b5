//! Listeners: bound before anything else is changed, each an accept loop that takes what there is to
//! know at the moment a client comes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::config::ConfigErrors;
use crate::session::news::Phase;

use super::accept::Listener;
use super::house::Current;
use super::plan;
use super::worker::Workers;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 1_024;

const IN_THE_WAY: &str = ": a listener that runs has this port, and goes only when the new one could be \
                          bound; change the port, or restart";

/// The addresses on which the proxy listens.
pub(super) struct Listening {
    current: Arc<Current>,
    workers: Arc<Workers>,
    phase: watch::Receiver<Phase>,
    running: Vec<Running>,
}

struct Running {
    /// As configured: port 0 stays 0.
    address: SocketAddr,
    listener: Arc<ArcSwap<Listener>>,
    accepting: JoinHandle<()>,
}

/// What [`Listening::bind`] found: for each planned listener the one that already runs, or a socket.
pub(super) struct Bound(Vec<Either>);

enum Either {
    Running(usize),
    Fresh(TcpListener),
}

impl Listening {
    /// Nothing yet. Clients are served by `workers` as `current` says.
    pub(super) fn new(
        current: Arc<Current>,
        workers: Arc<Workers>,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        Self { current, workers, phase, running: Vec::new() }
    }

    /// Binds what does not run yet, and changes nothing. What cannot be bound is an error at its place.
    pub(super) fn bind(&self, plan: &[plan::Listener], errors: &mut ConfigErrors) -> Bound {
        let mut taken = vec![false; self.running.len()];
        let mut bound = Vec::new();
        for planned in plan {
            let address = planned.address.value;
            let mut running = self.running.iter().zip(&mut taken).enumerate();
            let found = running.find(|(_, (it, taken))| it.address == address && !**taken);
            if let Some((n, (_, taken))) = found {
                *taken = true;
                bound.push(Either::Running(n));
                continue;
            }
            match bind(address) {
                Ok(socket) => bound.push(Either::Fresh(socket)),
                Err(error) => {
                    let hint = if self.is_in_the_way(address) { IN_THE_WAY } else { "" };
                    let sentence = format!("listening on {address}: {error}{hint}");
                    errors.add(Some(planned.address.position), sentence);
                }
            }
        }
        Bound(bound)
    }

    /// Whether a listener of ours has the port: one of the two addresses may contain the other.
    fn is_in_the_way(&self, address: SocketAddr) -> bool {
        let mut running = self.running.iter().map(|running| running.address);
        running.any(|it| it.port() == address.port() && it.port() != 0)
    }

    /// Listens on those alone: others are closed for new connections, and who is connected stays.
    pub(super) fn apply(&mut self, bound: Bound, plan: Vec<plan::Listener>) {
        let mut before: Vec<_> = std::mem::take(&mut self.running).into_iter().map(Some).collect();
        for (either, planned) in bound.0.into_iter().zip(plan) {
            let listener = Arc::new(Listener { tls: planned.tls, speaks: planned.speaks });
            match either {
                Either::Running(n) => {
                    let Some(running) = before.get_mut(n).and_then(Option::take) else { continue };
                    running.listener.store(listener);
                    self.running.push(running);
                }
                Either::Fresh(socket) => {
                    let address = planned.address.value;
                    self.running.push(self.start(address, socket, listener));
                }
            }
        }
        for removed in before.into_iter().flatten() {
            tracing::info!(address = %removed.address, "no longer listening");
            removed.accepting.abort();
        }
    }

    fn start(&self, address: SocketAddr, socket: TcpListener, listener: Arc<Listener>) -> Running {
        let shown = socket.local_addr().unwrap_or(address);
        let (tls, clients) = (listener.tls.is_some(), listener.speaks.clients());
        tracing::info!(address = %shown, tls, "listening for {clients} clients");
        let listener = Arc::new(ArcSwap::new(listener));
        let (current, workers) = (Arc::clone(&self.current), Arc::clone(&self.workers));
        let (mut phase, served) = (self.phase.clone(), Arc::clone(&listener));
        let accepting = tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = socket.accept() => accepted,
                    _ = phase.changed() => return,
                };
                match accepted {
                    Ok((stream, _)) => workers.serve(&current, served.load_full(), stream),
                    Err(error) => {
                        // Out of file descriptors, as a rule: sessions that end give some back.
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
        Running { address, listener, accepting }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of a process that has just ended may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
