//! Who is at the other end of a connection.

use std::fs;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use crate::grant::Actor;

/// The process at the other end, as the kernel names it (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user, when the kernel says.
    pub uid: Option<u32>,
    /// Whether that is root or the proxy's own user.
    pub trusted: bool,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::of(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

impl Peer {
    fn of(uid: Option<u32>) -> Self {
        let own = own_uid();
        Self { uid, trusted: uid.is_some_and(|uid| uid == 0 || Some(uid) == own) }
    }

    /// The operator that it is.
    pub fn operator(&self) -> Option<Actor> {
        let uid = self.uid.filter(|_| self.trusted)?;
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = user_name(&users, uid).map_or_else(|| format!("uid-{uid}"), str::to_owned);
        Some(Actor::Operator(name.into()))
    }
}

/// The user that the proxy runs as: the owner of its own entry under /proc.
fn own_uid() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").ok().map(|found| found.uid())
}

/// A user's name, from the text of /etc/passwd (passwd(5)).
fn user_name(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let found = fields.nth(1)?.parse::<u32>().ok()?;
        (found == uid).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_as_the_system_names_them() {
        let users = "root:x:0:0:root:/root:/bin/sh\n\nbroken\n:x:7::\nada:x:1000:1000::/:/bin/sh\n";
        assert_eq!(user_name(users, 0), Some("root"));
        assert_eq!(user_name(users, 1000), Some("ada"));
        assert_eq!(user_name(users, 7), None);
        assert_eq!(user_name(users, 1001), None);
    }

    #[test]
    fn only_root_and_the_own_user_are_operators() {
        assert_eq!(Peer::of(Some(0)).operator(), Some(Actor::Operator("root".into())));
        assert!(Peer::of(own_uid()).operator().is_some());
        assert_eq!(Peer::of(Some(4_000_000_000)).operator(), None);
        assert_eq!(Peer::of(None).operator(), None);
    }
}
