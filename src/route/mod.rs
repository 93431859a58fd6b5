//! Which server answers: positions in the primary's log, what is known of the replicas, and the choice between them.
//!
//! - [`position`]: how far a server is, and whether that covers what a session needs; [`gtid`]: of MySQL and MariaDB
//! - [`fleet`]: a database's servers as last seen
//! - [`lag`]: how long ago the primary was where a replica is; [`judge()`]: whether that replica can be asked
//! - [`choose()`]: the replica that answers a statement, if any
//! - [`policy`]: what the operator has chosen
//!
//! Where a statement may run at all is [`crate::sql::placement`]'s.

pub mod choose;
pub mod fleet;
pub mod gtid;
pub mod judge;
pub mod lag;
pub mod policy;
pub mod position;

pub use choose::{Choice, NoReplica, choose};
pub use fleet::{Fleet, Load, Replica, Seen, State};
pub use judge::{Ceilings, Judged, Leader, Role, Said, judge};
pub use lag::History;
pub use policy::{Floor, Freshness, Policy};
pub use position::{Position, PositionError};
