//! What a `[[database]]` says of its replicas.

use std::time::Duration;

use super::source::Section;
use super::{Located, Reads};
use crate::route::{Ceilings, Floor, Freshness, Policy};

const HOUR: Duration = Duration::from_secs(3_600);
const WEIGHT_MAX: usize = 1_000;

/// URLs of the replicas, and how they are used. `url` reads one.
pub(super) fn replicas(
    section: &Section<'_>,
    url: impl Fn(&str) -> Result<String, String>,
) -> (Vec<Located<String>>, Reads) {
    let named = section.strings("replicas");
    let count = named.len();
    let replicas = named.into_iter().filter_map(|replica| section.parse(replica, &url)).collect();
    let weights = section.counts("replica-weights", 1..=WEIGHT_MAX);
    if let Some(weights) = &weights
        && weights.value.len() != count
    {
        let sentence =
            format!("`replica-weights` has {} of them for {count} replicas", weights.value.len());
        section.source.error(Some(weights.position), sentence);
    }
    let weights = weights.map_or_else(|| vec![1; count], |weights| weights.value);
    let weights = weights.into_iter().map(|it| u32::try_from(it).unwrap_or(u32::MAX)).collect();
    let ms = Duration::from_millis;
    let lag = section.brief("replica-lag-max", ms(1)..=24 * HOUR, ms(30_000));
    let bytes = section.has("replica-lag-bytes-max").then(|| {
        section.bytes("replica-lag-bytes-max", 0..=usize::MAX >> 1, usize::MAX >> 1) as u64
    });
    let reads = Reads {
        weights,
        policy: policy(section),
        ceilings: Ceilings { lag, bytes },
        check: section.brief("replica-check", ms(50)..=ms(60_000), ms(500)),
        timeout: section.brief("replica-timeout", ms(100)..=ms(60_000), ms(2_000)),
    };
    (replicas, reads)
}

fn policy(section: &Section<'_>) -> Policy {
    let freshness = section.choice("freshness", &Freshness::ALL.map(|it| (it.word(), it)));
    let floor = section.choice("replica-floor", &Floor::ALL.map(|it| (it.word(), it)));
    let freshness = freshness.map(|it| it.value).unwrap_or_default();
    let default = freshness.default_wait();
    let wait = section.brief("freshness-wait", Duration::ZERO..=HOUR, default);
    Policy { freshness, wait, floor: floor.map(|it| it.value).unwrap_or_default() }
}
