//! A view: the members as one node sees them at one moment, with their metadata, and what follows
//! from that: who lives, who is gone, where the copies of a position belong.
//!
//! An immutable value; every answer is a pure function of it. It may use base and the ring. It does
//! not know how membership is found out, and of SIP only opaque listener addresses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::ring::{Ring, WEIGHT_DEFAULT};
use crate::base::ids::{MemberId, NodeId};

/// What membership says of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MemberState {
    /// It answers.
    Alive,
    /// It did not answer a probe; it has some time to refute. Counts as live.
    Suspect,
    /// Declared dead; this incarnation never comes back.
    Down,
    /// It said good-bye; this incarnation never comes back.
    Left,
}

impl MemberState {
    /// Alive or suspect.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

/// What a node is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Owns calls and holds copies.
    #[default]
    Member,
    /// Terminates SIP flows; owns no calls, holds no copies.
    Edge,
}

/// What a member says of itself. It travels apart from membership and may come later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Failure domain; empty if none is configured.
    pub zone: Arc<str>,
    /// Share of copies, 100 is ordinary; 0 holds none.
    pub weight: u16,
    /// What it is for.
    pub role: Role,
    /// It hands its calls over and takes no new ones.
    pub draining: bool,
    /// Advertised SIP listeners, such as `udp://10.0.0.1:5060`; opaque here.
    pub sip: Vec<Arc<str>>,
    /// Version of the program.
    pub version: Arc<str>,
    /// Highest wire version it speaks.
    pub wire: u8,
    /// How many shards it runs.
    pub shards: u16,
    /// Hash of the configuration that has to be the same everywhere.
    pub config_hash: u64,
    /// Calls it owns, about.
    pub load: u32,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            zone: "".into(),
            weight: WEIGHT_DEFAULT,
            role: Role::Member,
            draining: false,
            sip: Vec::new(),
            version: "".into(),
            wire: 1,
            shards: 1,
            config_hash: 0,
            load: 0,
        }
    }
}

impl Metadata {
    /// What stands for a node that has not said anything of itself in any life: it has no place.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            weight: 0,
            ..Self::default()
        }
    }
}

/// One member of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// The node and which life of it.
    pub id: MemberId,
    /// The node's name.
    pub name: Arc<str>,
    /// What membership says.
    pub state: MemberState,
    /// Where its fabric listens.
    pub cluster_addr: SocketAddr,
    /// What it says of itself; else what its earlier life said; else [`Metadata::unknown`].
    pub meta: Metadata,
    /// Whether `meta` is this life's own. Until then the member is no candidate for copies.
    pub known: bool,
}

impl MemberInfo {
    /// Whether copies that lie with this member can be asked for.
    fn may_hold(&self) -> bool {
        self.state.is_live() && self.meta.role == Role::Member && self.meta.weight > 0
    }

    /// Whether calls may be placed with this member, or handed over to it.
    #[must_use]
    pub fn takes_calls(&self) -> bool {
        self.state.is_live() && self.known && self.meta.role == Role::Member && !self.meta.draining
    }

    /// Whether new copies may be placed with this member.
    fn takes_copies(&self) -> bool {
        self.may_hold() && self.known && !self.meta.draining
    }
}

/// The members as one node sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Rises with each change; of this node only, never compared with another node's.
    pub epoch: u64,
    /// The node whose view this is.
    pub me: MemberId,
    /// One entry per node, its newest life known, sorted by node id; the gone ones too.
    members: Vec<MemberInfo>,
    /// Only members that may hold copies have a place.
    ring: Ring,
    /// Names of nodes that are no longer among the members.
    names: Arc<BTreeMap<NodeId, Arc<str>>>,
}

impl View {
    /// The view with these members. Of several lives of one node the newest stays.
    #[must_use]
    pub fn new(epoch: u64, me: MemberId, mut members: Vec<MemberInfo>) -> Self {
        members.sort_by(|one, other| {
            one.id
                .node
                .cmp(&other.id.node)
                .then(other.id.incarnation.cmp(&one.id.incarnation))
        });
        members.dedup_by_key(|member| member.id.node);
        let weights: Vec<(NodeId, u16)> = members
            .iter()
            .map(|member| {
                (
                    member.id.node,
                    if member.may_hold() {
                        member.meta.weight
                    } else {
                        0
                    },
                )
            })
            .collect();
        Self {
            epoch,
            me,
            members,
            ring: Ring::new(&weights),
            names: Arc::default(),
        }
    }

    /// The same view, with names of nodes that are no longer among the members.
    #[must_use]
    pub fn with_names(self, names: Arc<BTreeMap<NodeId, Arc<str>>>) -> Self {
        Self { names, ..self }
    }

    /// Every member, sorted by node id: live ones and gone ones.
    #[must_use]
    pub fn members(&self) -> &[MemberInfo] {
        &self.members
    }

    /// The member in exactly this life.
    #[must_use]
    pub fn member(&self, id: MemberId) -> Option<&MemberInfo> {
        self.node(id.node).filter(|member| member.id == id)
    }

    /// The newest known life of a node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&MemberInfo> {
        let at = self
            .members
            .binary_search_by_key(&node, |member| member.id.node)
            .ok()?;
        self.members.get(at)
    }

    /// A node's name; for one never heard of, `node-` and its id.
    #[must_use]
    pub fn name(&self, node: NodeId) -> Arc<str> {
        match (self.node(node), self.names.get(&node)) {
            (Some(member), _) => member.name.clone(),
            (None, Some(name)) => name.clone(),
            (None, None) => format!("node-{:016x}", node.0).into(),
        }
    }

    /// Whether a member is known never to come back (PROTOCOL.md rule 19): it is Down, it left, or
    /// a newer life of its node is known. Not for members never heard of.
    #[must_use]
    pub fn is_gone(&self, id: MemberId) -> bool {
        self.node(id.node).is_some_and(|known| {
            known.id.incarnation > id.incarnation || (known.id == id && !known.state.is_live())
        })
    }

    /// Whether a member, in exactly this life, is alive or suspect.
    #[must_use]
    pub fn is_live(&self, id: MemberId) -> bool {
        self.member(id).is_some_and(|member| member.state.is_live())
    }

    /// The members that are alive or suspect, this node included, in the order of their ids.
    pub fn live(&self) -> impl Iterator<Item = &MemberInfo> {
        self.members.iter().filter(|member| member.state.is_live())
    }

    /// The live member whose node id ends in these 16 bits: a hint, so the first of several.
    #[must_use]
    pub fn by_hint(&self, hint: u16) -> Option<MemberId> {
        self.live()
            .map(|member| member.id)
            .find(|id| id.node.0 & 0xffff == u64::from(hint))
    }

    /// Who should hold `count` copies of what lies at `position`, besides `owner` and without those
    /// to `avoid`: clockwise, other zones than the owner's and each other's first; draining members
    /// only if there are too few others, for a copy that will have to move is better than none.
    /// Fewer if there are no more candidates.
    #[must_use]
    pub fn replicas(
        &self,
        position: u64,
        count: usize,
        avoid: impl Fn(MemberId) -> bool,
        owner: MemberId,
    ) -> SmallVec<[MemberId; 4]> {
        let candidates = |draining: bool| {
            self.clockwise(position).filter(move |member| {
                member.may_hold() && member.known && member.meta.draining == draining
            })
        };
        let zone = self.node(owner.node).map(|owner| &*owner.meta.zone);
        let wanted = |member: &&MemberInfo| member.id != owner && !avoid(member.id);
        let mut chosen = spread(candidates(false).filter(wanted), count, zone);
        let missing = count.saturating_sub(chosen.len());
        let reserve = candidates(true).filter(wanted).take(missing);
        chosen.extend(reserve.map(|member| member.id));
        chosen
    }

    /// Whom to ask for a copy of what lies at `position`, whoever owns it: `copies` members, spread
    /// over zones as [`View::replicas`] spreads them, so that for any owner the first proposed
    /// replica is among them (if `copies` is at least 2 and none was avoided); and the members met
    /// on the way that still hold copies but take no new ones.
    #[must_use]
    pub fn holders(&self, position: u64, copies: usize) -> SmallVec<[MemberId; 4]> {
        let mut holders = spread(
            self.clockwise(position)
                .filter(|member| member.takes_copies()),
            copies,
            None,
        );
        let (mut counted, mut others) = (0, 0);
        for member in self.clockwise(position) {
            if counted >= copies || others >= copies {
                break;
            }
            if member.takes_copies() {
                counted += 1;
            } else {
                others += 1;
                holders.push(member.id);
            }
        }
        holders
    }

    /// The members that may hold copies, clockwise from `position`.
    fn clockwise(&self, position: u64) -> impl Iterator<Item = &MemberInfo> {
        self.ring.walk(position).map(|index| &self.members[index])
    }
}

/// The first `count` of `candidates`, those first that add a zone to the `taken` one.
fn spread<'a>(
    candidates: impl Iterator<Item = &'a MemberInfo>,
    count: usize,
    taken: Option<&'a str>,
) -> SmallVec<[MemberId; 4]> {
    let mut zones: SmallVec<[&str; 4]> = taken.into_iter().collect();
    let mut chosen = SmallVec::new();
    let mut passed_over: SmallVec<[MemberId; 8]> = SmallVec::new();
    for member in candidates {
        if chosen.len() >= count {
            break;
        }
        if zones.contains(&&*member.meta.zone) {
            passed_over.push(member.id);
        } else {
            zones.push(&member.meta.zone);
            chosen.push(member.id);
        }
    }
    let missing = count.saturating_sub(chosen.len());
    chosen.extend(passed_over.into_iter().take(missing));
    chosen
}

#[cfg(test)]
mod tests;
