//! The socket's file: whoever can open it is an operator, so nobody but its owner can.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use tokio::net::UnixListener;

/// Opens the socket, mode 0600; its folder is made, mode 0700, when there is none. A socket that nobody
/// listens on any more is replaced.
///
/// # Errors
/// When another proxy listens there, something else has that name, or the folder cannot be written.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
        && !folder.exists()
    {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    if let Ok(found) = fs::symlink_metadata(path) {
        let file_type = found.file_type();
        if !file_type.is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "this is not a socket"));
        }
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            _ => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another proxy listens here"));
            }
        }
    }
    // The folder keeps others out for the moment between the two calls.
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}
