//! Who looks after the roles of a server.

/// The service account, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: Box<str>,
    /// It may do everything.
    pub superuser: bool,
    /// It may make roles.
    pub creates_roles: bool,
    /// `server_version_num`.
    pub server_version: u32,
    /// What tells the cluster from all others.
    pub cluster: Box<str>,
    /// The server's database.
    pub database: Box<str>,
}
