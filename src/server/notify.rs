//! Tells the service manager where the process stands (sd_notify(3)): a datagram to the socket that it
//! names, nothing where it names none.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// It serves, or serves again after a reload.
pub(super) const READY: &str = "READY=1";
/// It reads its configuration.
pub(super) const RELOADING: &str = "RELOADING=1";
/// It drains.
pub(super) const STOPPING: &str = "STOPPING=1";

/// Says it, where somebody wants to know.
pub(super) fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, state, "the service manager could not be told");
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let from = UnixDatagram::unbound()?;
    // A service manager that does not read must not hold the proxy up.
    from.set_nonblocking(true)?;
    from.send_to_addr(state.as_bytes(), &address(socket.as_bytes())?).map(drop)
}

fn address(socket: &[u8]) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let [b'@', name @ ..] = socket {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(OsStr::from_bytes(socket))
}
