//! What differs between two configurations, in the words of the file: what a reload applies, and what
//! waits for a restart.

use std::collections::BTreeSet;

use super::{Audit, Config, Listener, Server};
use crate::audit::recorder;
use crate::telemetry::Log;

impl Config {
    /// Settings that count from the start of the process to its end, where the other has them otherwise.
    pub fn fixed_settings_changed(&self, next: &Self) -> Vec<&'static str> {
        let Audit { recorder, mode, text: _, parameters: _ } = &self.audit;
        let recorder::Settings { file, stdout, queue_records_max, queue_bytes_max } = recorder;
        let Log { format, level: _ } = &self.log;
        let Server { threads, drain_deadline: _ } = &self.server;
        let other = &next.audit.recorder;
        [
            ("store.url", self.store.place != next.store.place),
            ("store.stale-after", self.store.stale_after != next.store.stale_after),
            ("api.socket", self.api != next.api),
            ("audit.file", *file != other.file),
            ("audit.stdout", *stdout != other.stdout),
            ("audit.mode", *mode != next.audit.mode),
            ("audit.queue-records-max", *queue_records_max != other.queue_records_max),
            ("audit.queue-bytes-max", *queue_bytes_max != other.queue_bytes_max),
            ("metrics.address", self.metrics != next.metrics),
            ("log.format", *format != next.log.format),
            ("server.threads", *threads != next.server.threads),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }

    /// All other settings that differ. Names of databases, addresses and approvers are said, values of
    /// what may be secret never.
    pub fn differences(&self, next: &Self) -> Vec<String> {
        // A new field has to be thought of here.
        let Self {
            file: _,
            listeners,
            databases,
            store: _,
            api: _,
            audit,
            limits,
            token,
            grant,
            request,
            approval,
            metrics: _,
            log,
            server,
        } = self;
        let before = databases.iter().map(|it| (it.name.value.clone(), it));
        let after = next.databases.iter().map(|it| (it.name.value.clone(), it));
        let mut said = listed("database", before.collect(), after.collect());
        let address = |it: &Listener| it.address.value.to_string();
        let before = listeners.iter().map(|it| (address(it), it));
        let after = next.listeners.iter().map(|it| (address(it), it));
        said.extend(listed("listener", before.collect(), after.collect()));
        if approval != &next.approval {
            let names: Vec<_> = next.approval.approvers.iter().map(|it| &*it.value).collect();
            said.push(format!("approvers are now [{}]", names.join(", ")));
        }
        let audit_differs =
            audit.text != next.audit.text || audit.parameters != next.audit.parameters;
        let changed = [
            ("audit", audit_differs),
            ("limits", *limits != next.limits),
            ("token", *token != next.token),
            ("grant", *grant != next.grant),
            ("request", *request != next.request),
            ("log", log.level != next.log.level),
            ("server", server.drain_deadline != next.server.drain_deadline),
        ];
        let changed = changed.into_iter().filter(|(_, differs)| *differs);
        said.extend(changed.map(|(section, _)| format!("[{section}] changed")));
        said
    }
}

/// What became of the items of a list. An item whose key comes twice is compared as one.
fn listed<T: PartialEq>(
    what: &str,
    before: Vec<(String, T)>,
    after: Vec<(String, T)>,
) -> Vec<String> {
    let keys = |items: &[(String, T)]| -> BTreeSet<String> {
        items.iter().map(|(key, _)| key.clone()).collect()
    };
    let (old, new) = (keys(&before), keys(&after));
    let differs = |key: &str| values(&before, key) != values(&after, key);
    let mut said: Vec<_> = new.difference(&old).map(|it| format!("{what} {it} added")).collect();
    said.extend(old.difference(&new).map(|it| format!("{what} {it} removed")));
    let changed = old.intersection(&new).filter(|key| differs(key));
    said.extend(changed.map(|it| format!("{what} {it} changed")));
    said
}

fn values<'a, T>(items: &'a [(String, T)], key: &str) -> Vec<&'a T> {
    items.iter().filter(|(it, _)| it == key).map(|(_, value)| value).collect()
}
