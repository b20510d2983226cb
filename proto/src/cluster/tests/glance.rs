//! What tests and scripts ask of the world. Changes nothing.

use super::judge::Told;
use super::world::{Node, World};
use crate::base::ids::{CallId, MemberId};
use crate::cluster::Cluster;
use crate::cluster::entry::{Role, Stage};

impl World {
    pub(super) fn note(&mut self, key: Option<CallId>, line: impl FnOnce() -> String) {
        if self.verbose {
            self.trace.push((self.now, key, line()));
        }
    }

    pub(super) fn is_up(&self, nth: usize) -> bool {
        self.nodes[nth].cluster.is_some() && !self.nodes[nth].paused
    }

    pub(super) fn up(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|nth| self.is_up(*nth))
            .collect()
    }

    pub(super) fn cluster(&mut self, nth: usize) -> &mut Cluster<Told> {
        self.nodes[nth].cluster.as_mut().expect("the node is up")
    }

    /// The nodes that run the call, not only claim it.
    pub(super) fn owners(&self, key: CallId) -> Vec<usize> {
        let active = |nth: &usize| {
            let cluster = self.nodes[*nth].cluster.as_ref();
            cluster
                .and_then(|cluster| cluster.owned(key))
                .is_some_and(|owned| owned.stage != Stage::Activating)
        };
        (0..self.nodes.len()).filter(active).collect()
    }

    /// The nodes that the owner's record lists, and that live.
    pub(super) fn replicas(&self, key: CallId) -> Vec<usize> {
        let owner = self.owners(key);
        let owned = owner
            .first()
            .and_then(|nth| self.nodes[*nth].cluster.as_ref()?.owned(key));
        let members = owned.map(|owned| owned.record.members.clone());
        members
            .unwrap_or_default()
            .iter()
            .filter_map(|member| self.nodes.iter().position(|node| node.member == *member))
            .collect()
    }

    /// Whether the call has one owner and all the copies it should have, all up to date.
    pub(super) fn is_settled(&self, key: CallId) -> bool {
        let owners = self.owners(key);
        let [owner] = owners[..] else { return false };
        let Some(cluster) = self.nodes[owner].cluster.as_ref() else {
            return false;
        };
        let Some(owned) = cluster.owned(key) else {
            return false;
        };
        let up = |member: &MemberId| {
            let mut nodes = self.nodes.iter();
            nodes.any(|node| node.member == *member && node.cluster.is_some() && !node.paused)
        };
        owned.change.is_none()
            && self.holders(key) == owned.record.members.len() + 1
            && owned.record.old.is_empty()
            && owned.record.members.len() + 1 == self.policy.copies.min(self.nodes.len())
            && owned.record.members.iter().all(up)
            && owned
                .record
                .members
                .iter()
                .all(|member| owned.acked(*member) == Some(owned.record.version))
    }

    /// Who is what to the call, in words.
    pub(super) fn describe(&self, key: CallId) -> String {
        let nodes = self.nodes.iter().enumerate();
        let lines = nodes.map(|(nth, node)| {
            let Some(cluster) = &node.cluster else {
                return format!("node{nth} is down");
            };
            let entry = cluster.entries.get(&key);
            let what = match entry.map(|entry| &entry.role) {
                None => "knows nothing".into(),
                Some(Role::None) => "holds a promise".into(),
                Some(Role::Copy(copy)) => format!("holds a copy of {:?}", copy.record),
                Some(Role::Claiming(claiming)) => format!("claims {claiming:?}"),
                Some(Role::Owned(owned)) => format!(
                    "owns {:?} {:?}, acked {:?}, change {:?}, committed {}",
                    owned.stage, owned.record, owned.acked, owned.change, owned.committed
                ),
            };
            format!(
                "node{nth} {:?} {what}; silent to it: {:?}",
                node.member, node.silent
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Everything told is owned and replicated as it should be; faults so far are over.
    pub(super) fn is_repaired(&self) -> bool {
        !self.net.has_cuts()
            && self
                .nodes
                .iter()
                .all(|node| node.cluster.is_some() && !node.paused)
            && self.nodes.iter().all(|node| node.silent.is_empty())
            && self.judge.living().iter().all(|key| self.is_settled(*key))
    }

    /// How many nodes hold anything of the call.
    pub(super) fn holders(&self, key: CallId) -> usize {
        let holds = |node: &&Node| {
            let cluster = node.cluster.as_ref();
            cluster
                .and_then(|cluster| cluster.entries.get(&key))
                .is_some_and(|entry| !matches!(entry.role, Role::None))
        };
        self.nodes.iter().filter(holds).count()
    }

    /// The trace, of one call if one is named.
    pub(super) fn story(&self, key: Option<CallId>) -> String {
        let lines = self
            .trace
            .iter()
            .filter(|(_, about, _)| key.is_none() || about.is_none() || *about == key);
        lines
            .map(|(at, _, line)| format!("{at:?} {line}\n"))
            .collect()
    }
}
