//! The socket's file: whoever can open it is an operator, so nobody but its owner can.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Why the API cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens there.
    #[error("{} is in use: another proxy listens there", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket is there.
    #[error("{} is there already and is no socket", .0.display())]
    NotASocket(PathBuf),
    /// Others could put a socket of their own in its place.
    #[error(
        "{} can be written by other users, who could put a socket of their own there: \
         chmod 700 it, or name a folder that does not exist yet", .0.display()
    )]
    OpenFolder(PathBuf),
    /// The operating system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Its words.
        error: io::Error,
    },
}

/// The socket, listening. Its file goes when this is dropped.
pub struct ApiSocket {
    pub(super) listener: UnixListener,
    pub(super) place: Place,
}

/// The file of a socket.
pub(super) struct Place {
    path: PathBuf,
    /// Device and inode: only our own file is removed.
    file: (u64, u64),
}

impl Drop for Place {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.file) {
            // Nobody is left to tell; a stale file does no harm.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl ApiSocket {
    /// Listens. A folder that does not exist is made for its owner alone; one that does is left as
    /// it is, unless other users can write to it, which is refused. The socket's file is for its
    /// owner alone, too. A file that a killed proxy left behind is removed once a connection to it
    /// failed.
    ///
    /// Has to be called inside a tokio runtime.
    ///
    /// # Errors
    /// When something else is there, or the operating system refuses.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let at = |path: &Path| {
            let path = path.to_path_buf();
            move |error| SocketError::Io { path, error }
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
        let found = fs::metadata(folder).map_err(at(folder))?;
        // In a sticky folder (/tmp) nobody can remove what is another's.
        if found.mode() & 0o022 != 0 && found.mode() & 0o1000 == 0 {
            return Err(SocketError::OpenFolder(folder.to_path_buf()));
        }
        // Two proxies that start at once could each find the other's fresh socket stale.
        let turn = File::open(folder).map_err(at(folder))?;
        turn.lock().map_err(at(folder))?;
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(at(path))?;
        // Until here the file has what the umask leaves, so every caller's user is checked as well.
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(at(path))?;
        let file = identity(&fs::symlink_metadata(path).map_err(at(path))?);
        let place = Place { path: path.to_path_buf(), file };
        Ok(Self { listener, place })
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let error = |error| SocketError::Io { path: path.to_path_buf(), error };
    match fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(error(cause)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_path_buf()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_path_buf())),
        Err(cause) if cause.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(error)
        }
        Err(cause) => Err(error(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[tokio::test]
    async fn folder_and_socket_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/api.sock");
        let socket = ApiSocket::bind(&path).unwrap();
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&path), 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_somebody_listens_on_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let _first = ApiSocket::bind(&path).unwrap();
        assert!(matches!(ApiSocket::bind(&path), Err(SocketError::InUse(_))));
        let foreign = folder.path().join("foreign.sock");
        let _listener = UnixListener::bind(&foreign).unwrap();
        assert!(matches!(ApiSocket::bind(&foreign), Err(SocketError::InUse(_))));
        assert!(path.exists() && foreign.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _socket = ApiSocket::bind(&path).unwrap();
        let file = folder.path().join("notes.txt");
        fs::write(&file, "mine").unwrap();
        assert!(matches!(ApiSocket::bind(&file), Err(SocketError::NotASocket(_))));
        assert!(file.exists());
    }

    #[tokio::test]
    async fn a_folder_that_others_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        let error = ApiSocket::bind(&open.join("api.sock")).err().unwrap();
        assert!(matches!(error, SocketError::OpenFolder(_)), "{error}");
        fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
        assert!(ApiSocket::bind(&open.join("api.sock")).is_ok());
    }
}
