//! Files and folders that a configuration names for what is in them, or for who can enter them.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// As many as the hash's own strength.
const HASH_KEY_BYTES_MIN: usize = 32;

/// What a file holds that is there for one secret.
pub(super) fn secret_file(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let mut bytes =
        std::fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    // Editors end a file with a newline; no password does.
    if bytes.ends_with(b"\n") {
        bytes.pop();
        bytes.pop_if(|byte| *byte == b'\r');
    }
    if bytes.is_empty() { Err(format!("{shown} is empty")) } else { Ok(bytes) }
}

/// Whoever has the key can try values until a hash fits, so it is nobody else's.
pub(super) fn hash_key(path: &Path) -> Result<Secret, String> {
    const OPEN_TO_OTHERS: u32 = 0o007;
    let bytes = secret_file(path)?;
    let shown = path.display();
    let mode = std::fs::metadata(path).map_or(0, |found| found.mode() & 0o777);
    if mode & OPEN_TO_OTHERS != 0 {
        return Err(format!("{shown} is open to other users (mode {mode:04o}): run chmod 600"));
    }
    if bytes.len() < HASH_KEY_BYTES_MIN {
        let length = bytes.len();
        return Err(format!(
            "{shown} has {length} bytes, and a key has at least {HASH_KEY_BYTES_MIN}: make one \
             with `openssl rand -base64 32`"
        ));
    }
    Ok(Secret::new(bytes))
}

/// The key in a file, where there is such a file.
pub(super) fn role_key(path: &Path) -> Result<Option<Secret>, String> {
    if path.exists() { hash_key(path).map(Some) } else { Ok(None) }
}

/// Makes a key file, mode 0600; where another process was quicker, its key is taken.
pub(super) fn make_key(path: &Path) -> Result<Secret, String> {
    let failed =
        |error: &dyn std::fmt::Display| format!("{} cannot be made: {error}", path.display());
    let mut random = Zeroizing::new([0; HASH_KEY_BYTES_MIN]);
    getrandom::fill(&mut *random).map_err(|error| failed(&error))?;
    let text = Zeroizing::new(STANDARD.encode(*random) + "\n");
    // Whole or not at all: who reads it at the same time must not take half a key for one.
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    let linked = written.and_then(|()| match std::fs::hard_link(&beside, path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    // What is left is a file that nobody reads.
    let _ = std::fs::remove_file(&beside);
    linked.map_err(|error| failed(&error))?;
    hash_key(path)
}

pub(super) fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether nobody else can enter the folder of the socket, when there is one: whoever connects is
/// an operator.
pub(super) fn check_private_folder(socket: &Path) -> Result<(), String> {
    let folder = folder(socket);
    let Ok(metadata) = std::fs::metadata(folder) else { return Ok(()) };
    let shown = folder.display();
    if !metadata.is_dir() {
        return Err(format!("{shown} is not a folder"));
    }
    // The owner of a process's own entry is its effective user (proc_pid(5)).
    let own = std::fs::metadata("/proc/self").map(|own| own.uid());
    if own.is_ok_and(|own| own != metadata.uid()) {
        return Err(format!("the folder {shown} of the API's socket belongs to another user"));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "others can enter the folder {shown} of the API's socket (mode {mode:04o}): run \
             `chmod 700 {shown}`, or give the socket a folder of its own, which is then made"
        ));
    }
    Ok(())
}

/// Makes the folder of the socket, mode 0700, when there is none; checks it in any case.
pub(super) fn make_private_folder(socket: &Path) -> Result<(), String> {
    let folder = folder(socket);
    if let Err(error) = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(folder) {
        return Err(format!("the folder {} cannot be made: {error}", folder.display()));
    }
    check_private_folder(socket)
}
