//! The roster: every node this one knows of, in its newest life, with its metadata; and for a day
//! those that are gone. Views are made from it.
//!
//! It is told states and never finds them out. It may use base and view; it knows no messages.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::identity::Identity;
use crate::base::ids::{Incarnation, MemberId, NodeId};
use crate::base::time::{Duration, Instant};
use crate::cluster::view::{MemberInfo, MemberState, Metadata, View};

/// How long a node that is gone is remembered, and with it its highest incarnation.
const GONE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Most nodes remembered that are gone. Above: the one gone longest is forgotten.
const GONE_MAX: usize = 1_024;
/// Most names kept of nodes that were forgotten. Above: the oldest is forgotten.
const NAMES_MAX: usize = 1_024;
/// Most nodes whose metadata is kept. Above: that of nodes unknown to membership is refused.
const METADATA_MAX: usize = 4_096;
/// Most names remembered as refused. Above: they are warned of again.
const REFUSED_MAX: usize = 64;

/// What is known of one node.
#[derive(Clone, Debug)]
struct Node {
    identity: Identity,
    state: MemberState,
    /// When `state` was reached.
    since: Instant,
    /// The newest life that said good-bye.
    leaving: Option<Incarnation>,
    /// The last frame from it, if the shell tells.
    heard: Option<Instant>,
}

/// See the file's head.
#[derive(Clone, Debug)]
pub(super) struct Roster {
    me: NodeId,
    nodes: BTreeMap<NodeId, Node>,
    metadata: BTreeMap<NodeId, (Incarnation, Metadata)>,
    names: Arc<BTreeMap<NodeId, Arc<str>>>,
    names_by_age: VecDeque<NodeId>,
    refused: BTreeSet<Arc<str>>,
}

impl Roster {
    /// A roster of this node alone.
    pub(super) fn new(me: Identity, now: Instant) -> Self {
        let node = me.member().node;
        let mut roster = Self {
            me: node,
            nodes: BTreeMap::new(),
            metadata: BTreeMap::new(),
            names: Arc::default(),
            names_by_age: VecDeque::new(),
            refused: BTreeSet::new(),
        };
        roster.set(node, me, MemberState::Alive, now);
        roster
    }

    /// This node in another life or state.
    pub(super) fn set_me(&mut self, me: Identity, state: MemberState, now: Instant) {
        self.set(self.me, me, state, now);
    }

    /// Takes in what gossip says of a member. Whether anything is new.
    ///
    /// # Errors
    /// Another node of a different name has the same id, and this one is refused; said once.
    pub(super) fn observe(
        &mut self,
        identity: &Identity,
        state: MemberState,
        now: Instant,
    ) -> Result<bool, Collision> {
        let node = identity.member().node;
        let Some(known) = self.nodes.get(&node) else {
            self.set(node, identity.clone(), state, now);
            return Ok(true);
        };
        if known.identity.name != identity.name {
            if self.refused.len() >= REFUSED_MAX {
                self.refused.clear();
            }
            let news = self.refused.insert(identity.name.clone());
            return if news {
                Err(Collision(known.identity.name.clone()))
            } else {
                Ok(false)
            };
        }
        let left = known.leaving == Some(identity.incarnation);
        let state = if state == MemberState::Down && left {
            MemberState::Left
        } else {
            state
        };
        let same = known.identity == *identity && known.state == state;
        if same || identity.incarnation < known.identity.incarnation {
            return Ok(false);
        }
        self.set(node, identity.clone(), state, now);
        Ok(true)
    }

    fn set(&mut self, id: NodeId, identity: Identity, state: MemberState, now: Instant) {
        let (leaving, heard) = self
            .nodes
            .get(&id)
            .map_or((None, None), |node| (node.leaving, node.heard));
        self.nodes.insert(
            id,
            Node {
                identity,
                state,
                since: now,
                leaving,
                heard,
            },
        );
    }

    /// Notes a good-bye. Whether it is that of a known life; Down may have been heard before it.
    pub(super) fn set_leaving(&mut self, identity: &Identity) -> bool {
        match self.nodes.get_mut(&identity.member().node) {
            Some(node) if node.identity == *identity => {
                node.leaving = Some(identity.incarnation);
                true
            }
            _ => false,
        }
    }

    /// Notes a frame from a node.
    pub(super) fn set_heard(&mut self, node: NodeId, at: Instant) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.heard = Some(at);
        }
    }

    /// When the last frame came from a node.
    pub(super) fn heard(&self, node: NodeId) -> Option<Instant> {
        self.nodes.get(&node)?.heard
    }

    /// Takes in what a member says of itself. Whether the view changes.
    pub(super) fn set_metadata(&mut self, id: MemberId, meta: Metadata) -> bool {
        match self.metadata.get_mut(&id.node) {
            Some((incarnation, _)) if *incarnation > id.incarnation => return false,
            Some((incarnation, known)) => {
                if *incarnation == id.incarnation && *known == meta {
                    return false;
                }
                (*incarnation, *known) = (id.incarnation, meta);
            }
            None => {
                let known = self.nodes.contains_key(&id.node);
                if !known && self.metadata.len() >= METADATA_MAX {
                    return false;
                }
                self.metadata.insert(id.node, (id.incarnation, meta));
            }
        }
        self.nodes.contains_key(&id.node)
    }

    /// The highest number known of the node called `name`; 0 if none is.
    pub(super) fn highest_incarnation(&self, name: &str) -> u32 {
        let node = self
            .nodes
            .get(&NodeId::of(name))
            .filter(|node| &*node.identity.name == name);
        node.map_or(0, |node| node.identity.incarnation.number)
    }

    /// The live members except this node.
    pub(super) fn live_others(&self) -> impl Iterator<Item = &Identity> {
        let others = self.nodes.iter().filter(|(id, _)| **id != self.me);
        others
            .filter(|(_, node)| node.state.is_live())
            .map(|(_, node)| &node.identity)
    }

    /// The members that are Down, from the one gone last.
    pub(super) fn down_latest_first(&self) -> Vec<Identity> {
        let mut down: Vec<&Node> = self
            .nodes
            .values()
            .filter(|node| node.state == MemberState::Down)
            .collect();
        down.sort_by_key(|node| std::cmp::Reverse(node.since));
        down.into_iter().map(|node| node.identity.clone()).collect()
    }

    /// Forgets who is gone for too long, and the oldest of too many. Returns whom.
    pub(super) fn forget(&mut self, now: Instant) -> Vec<Identity> {
        let mut gone: Vec<(Instant, NodeId)> = self
            .nodes
            .iter()
            .filter(|(id, node)| **id != self.me && !node.state.is_live())
            .map(|(id, node)| (node.since, *id))
            .collect();
        gone.sort_unstable();
        let surplus = gone.len().saturating_sub(GONE_MAX);
        let old = gone
            .iter()
            .take_while(|(since, _)| now.since(*since) >= GONE_FOR)
            .count();
        let forgotten = gone.into_iter().take(surplus.max(old)).map(|(_, id)| id);
        forgotten.filter_map(|id| self.remove(id)).collect()
    }

    fn remove(&mut self, id: NodeId) -> Option<Identity> {
        self.metadata.remove(&id);
        let node = self.nodes.remove(&id)?;
        let names = Arc::make_mut(&mut self.names);
        if names.insert(id, node.identity.name.clone()).is_none() {
            self.names_by_age.push_back(id);
        }
        if names.len() > NAMES_MAX
            && let Some(oldest) = self.names_by_age.pop_front()
        {
            names.remove(&oldest);
        }
        Some(node.identity)
    }

    /// The view of this moment.
    pub(super) fn view(&self, epoch: u64) -> View {
        let members: Vec<MemberInfo> = self
            .nodes
            .iter()
            .map(|(id, node)| self.info(*id, node))
            .collect();
        let me = self.nodes[&self.me].identity.member();
        View::new(epoch, me, members).with_names(self.names.clone())
    }

    fn info(&self, id: NodeId, node: &Node) -> MemberInfo {
        let incarnation = node.identity.incarnation;
        let (meta, known) = match self.metadata.get(&id) {
            // One boot, another number: the same process under its next number.
            Some((of, meta)) => (meta.clone(), of.boot == incarnation.boot),
            None => (Metadata::unknown(), false),
        };
        MemberInfo {
            id: MemberId {
                node: id,
                incarnation,
            },
            name: node.identity.name.clone(),
            state: node.state,
            cluster_addr: node.identity.addr,
            meta,
            known,
        }
    }
}

/// The name of the node that has the id already.
#[derive(Debug)]
pub(super) struct Collision(pub(super) Arc<str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str, number: u32) -> Identity {
        Identity {
            name: name.into(),
            addr: ([127, 0, 0, 1], 7000).into(),
            incarnation: Incarnation {
                number,
                boot: 10 * number,
            },
        }
    }

    fn roster() -> Roster {
        Roster::new(identity("me", 1), Instant::START)
    }

    /// Metadata belongs to a life: an earlier one's stands in, unknown; a later number of the same
    /// boot is known; before any there is no place on the ring.
    #[test]
    fn metadata_of_earlier_lives_stands_in() {
        let mut roster = roster();
        let (node, now) = (identity("other", 2), Instant::START);
        roster.observe(&node, MemberState::Alive, now).unwrap();
        let weight = |roster: &Roster| {
            let view = roster.view(1);
            let info = view.node(NodeId::of("other")).unwrap();
            (info.meta.weight, info.known)
        };
        assert_eq!(weight(&roster), (0, false));
        let meta = Metadata {
            weight: 30,
            ..Metadata::default()
        };
        assert!(roster.set_metadata(node.member(), meta.clone()));
        assert!(!roster.set_metadata(node.member(), meta.clone()));
        assert_eq!(weight(&roster), (30, true));
        roster
            .observe(&node.raised_to(3), MemberState::Alive, now)
            .unwrap();
        assert_eq!(weight(&roster), (30, true));
        roster
            .observe(&identity("other", 4), MemberState::Alive, now)
            .unwrap();
        assert_eq!(weight(&roster), (30, false));
        assert!(!roster.set_metadata(identity("other", 1).member(), Metadata::default()));
    }

    /// Gone nodes are remembered for a day, and no more than the bound; their names longer.
    #[test]
    fn the_gone_are_remembered_within_bounds() {
        let mut roster = roster();
        let at = |second| Instant::START + Duration::from_secs(second);
        for nth in 0..1_030_u32 {
            let node = identity(&format!("node{nth}"), nth + 1);
            roster
                .observe(&node, MemberState::Down, at(u64::from(nth)))
                .unwrap();
        }
        assert_eq!(roster.highest_incarnation("node0"), 1);
        let forgotten = roster.forget(at(1_030));
        assert_eq!(forgotten.len(), 1_030 - GONE_MAX);
        assert_eq!(roster.highest_incarnation("node0"), 0);
        assert_eq!(roster.highest_incarnation("node1029"), 1_030);
        assert_eq!(&*roster.view(1).name(NodeId::of("node0")), "node0");
        assert_eq!(roster.forget(at(86_400 + 1_030)).len(), GONE_MAX);
        assert_eq!(roster.view(1).members().len(), 1);
        assert_eq!(roster.names.len(), NAMES_MAX);
    }

    /// An older life never replaces a newer one; a good-bye turns Down into Left.
    #[test]
    fn lives_only_rise() {
        let (mut roster, now) = (roster(), Instant::START);
        assert!(
            roster
                .observe(&identity("other", 2), MemberState::Alive, now)
                .unwrap()
        );
        assert!(
            !roster
                .observe(&identity("other", 1), MemberState::Alive, now)
                .unwrap()
        );
        assert!(!roster.set_leaving(&identity("other", 1)));
        assert!(roster.set_leaving(&identity("other", 2)));
        assert!(
            roster
                .observe(&identity("other", 2), MemberState::Down, now)
                .unwrap()
        );
        let state = |roster: &Roster| roster.view(1).node(NodeId::of("other")).unwrap().state;
        assert_eq!(state(&roster), MemberState::Left);
        assert!(
            !roster
                .observe(&identity("other", 2), MemberState::Down, now)
                .unwrap()
        );
        assert!(
            roster
                .observe(&identity("other", 3), MemberState::Down, now)
                .unwrap()
        );
        assert_eq!(state(&roster), MemberState::Down);
    }
}
