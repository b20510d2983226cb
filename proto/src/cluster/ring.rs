//! The hash ring: virtual nodes of members on a circle of 64 bits.
//!
//! A pure function of node ids and weights. It may use base only. It does not know incarnations (a
//! restart moves nothing), zones, states or copies: those are the view's.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;
use smallvec::SmallVec;

use crate::base::ids::NodeId;

/// The weight of an ordinary member.
pub const WEIGHT_DEFAULT: u16 = 100;
/// Virtual nodes of a member of weight [`WEIGHT_DEFAULT`]: a share deviates by about 9 %.
const POINTS_AT_DEFAULT: u32 = 128;
/// Most virtual nodes of one member: ten ordinary members' worth. Above: the weight counts as that.
const POINTS_MAX: u32 = 10 * POINTS_AT_DEFAULT;

/// Members' virtual nodes, in order around the circle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Place on the circle, index of the member.
    points: Vec<(u64, u16)>,
    /// Members with at least one point.
    placed: usize,
    /// One more than the highest index.
    indexes: usize,
}

impl Ring {
    /// The ring of `members`: a node and its weight each. A member of weight 0 has no place.
    ///
    /// What [`Ring::walk`] yields are indexes into `members`; its order does not matter otherwise.
    #[must_use]
    pub fn new(members: &[(NodeId, u16)]) -> Self {
        let mut points = Vec::new();
        for (&(node, weight), index) in members.iter().zip(0_u16..) {
            points.extend((0..points_of(weight)).map(|nth| (point(node, nth), node, index)));
        }
        // The node breaks a tie, so that the order of `members` cannot.
        points.sort_unstable();
        Self {
            placed: members.iter().filter(|(_, weight)| *weight > 0).count(),
            indexes: members.len(),
            points: points
                .into_iter()
                .map(|(at, _, index)| (at, index))
                .collect(),
        }
    }

    /// The members clockwise from `position`, each once.
    #[must_use]
    pub fn walk(&self, position: u64) -> Walk<'_> {
        Walk {
            ring: self,
            next: self.points.partition_point(|&(at, _)| at < position),
            steps: self.points.len(),
            unseen: self.placed,
            seen: SmallVec::from_elem(0, self.indexes.div_ceil(64)),
        }
    }

    /// How many members have a place.
    #[must_use]
    pub fn len(&self) -> usize {
        self.placed
    }

    /// Whether no member has a place.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.placed == 0
    }
}

/// See [`Ring::walk`].
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    ring: &'a Ring,
    next: usize,
    steps: usize,
    unseen: usize,
    /// One bit per index.
    seen: SmallVec<[u64; 4]>,
}

impl Iterator for Walk<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.unseen > 0 && self.steps > 0 {
            let at = self.next % self.ring.points.len();
            let index = usize::from(self.ring.points[at].1);
            self.next = at + 1;
            self.steps -= 1;
            let (word, bit) = (index / 64, 1_u64 << (index % 64));
            if self.seen[word] & bit == 0 {
                self.seen[word] |= bit;
                self.unseen -= 1;
                return Some(index);
            }
        }
        None
    }
}

/// How many points a member of `weight` has.
fn points_of(weight: u16) -> u32 {
    let points = u32::from(weight) * POINTS_AT_DEFAULT;
    points.div_ceil(u32::from(WEIGHT_DEFAULT)).min(POINTS_MAX)
}

/// The place of a node's `nth` point. Part of the wire contract: every member computes the same.
fn point(node: NodeId, nth: u32) -> u64 {
    let mut hash = SipHasher24::new_with_keys(0x6361_6c6c_7269_6e67, 0x7269_6e67_2070_6f69);
    hash.write(&node.0.to_le_bytes());
    hash.write(&nth.to_le_bytes());
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 100_000;

    fn members(count: u64) -> Vec<(NodeId, u16)> {
        (1..=count)
            .map(|nth| (NodeId::of(&format!("node{nth}")), WEIGHT_DEFAULT))
            .collect()
    }

    /// Positions spread like hashes are.
    fn position(key: u64) -> u64 {
        point(NodeId(key), u32::MAX)
    }

    fn first(ring: &Ring, key: u64) -> usize {
        ring.walk(position(key)).next().unwrap()
    }

    /// A walk yields each member that has a place, once, whatever the weights.
    #[test]
    fn a_walk_yields_every_placed_member_once() {
        for (weights, expected) in [
            (vec![], vec![]),
            (vec![0], vec![]),
            (vec![100], vec![0]),
            (vec![100, 0, 100], vec![0, 2]),
            (vec![1, 100, u16::MAX], vec![0, 1, 2]),
            (vec![50; 130], (0..130).collect()),
        ] {
            let members: Vec<_> = weights
                .iter()
                .zip(1..)
                .map(|(&w, id)| (NodeId(id), w))
                .collect();
            let ring = Ring::new(&members);
            assert_eq!(
                (ring.len(), ring.is_empty()),
                (expected.len(), expected.is_empty())
            );
            for start in [0, 1, u64::MAX / 3, u64::MAX] {
                let mut walked: Vec<usize> = ring.walk(start).collect();
                walked.sort_unstable();
                assert_eq!(walked, expected, "{weights:?} from {start}");
            }
        }
    }

    /// Each of ten equal members is first for a tenth of the keys, give or take a quarter of it; a
    /// member of half the weight for half of that.
    #[test]
    fn shares_follow_weights() {
        let mut weighted = members(10);
        weighted.push((NodeId::of("half"), 50));
        let ring = Ring::new(&weighted);
        let mut shares = vec![0_u64; 11];
        for key in 0..KEYS {
            shares[first(&ring, key)] += 1;
        }
        for (share, (_, weight)) in shares.iter().zip(&weighted) {
            let fair = KEYS * u64::from(*weight) / 1_050;
            assert!(share.abs_diff(fair) <= fair / 4, "{shares:?}, fair {fair}");
        }
    }

    /// One member more among N moves at most 1.2 / N of the keys, and only to the new one.
    #[test]
    fn a_new_member_takes_its_share_and_moves_nothing_else() {
        for count in [2, 3, 5, 10, 20] {
            let all = members(count);
            let before = Ring::new(&all[1..]);
            let after = Ring::new(&all);
            let mut moved = 0;
            for key in 0..KEYS {
                let now = first(&after, key);
                if now == 0 {
                    moved += 1;
                } else {
                    assert_eq!(now, first(&before, key) + 1);
                }
            }
            assert!(
                moved * 10 * count <= 12 * KEYS,
                "{moved} of {KEYS} moved at {count}"
            );
        }
    }

    /// The order in which members are listed changes nothing but their indexes.
    #[test]
    fn a_pure_function_of_nodes_and_weights() {
        let forward = members(7);
        let backward: Vec<_> = forward.iter().rev().copied().collect();
        let (one, other) = (Ring::new(&forward), Ring::new(&backward));
        for key in 0..1_000 {
            let at = position(key);
            let left: Vec<NodeId> = one.walk(at).map(|index| forward[index].0).collect();
            let right: Vec<NodeId> = other.walk(at).map(|index| backward[index].0).collect();
            assert_eq!(left, right);
        }
        // Other members and other versions must find the same place: this number never changes.
        assert_eq!(point(NodeId::of("node1"), 0), 2_599_443_504_287_482_925);
    }
}
