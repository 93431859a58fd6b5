//! A relay that reads nothing: the least that a process between two sockets costs.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// First argument of the process that is one; the second is the port to relay to.
pub(crate) const MODE: &str = "relay-to";

/// Serves until it is killed. Says on which port on standard output.
pub(crate) fn run(to: &str) {
    let to: u16 = to.parse().expect("a port");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", listener.local_addr().expect("it is bound").port());
        loop {
            let (mut client, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                client.set_nodelay(true).expect("a socket");
                let mut server = TcpStream::connect(("127.0.0.1", to)).await.expect("the server");
                server.set_nodelay(true).expect("a socket");
                // Whoever closes first ends it.
                drop(copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
}
