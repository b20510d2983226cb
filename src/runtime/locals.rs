//! Local addresses of listeners that listen on all of them: one number each, so that a flow can
//! say which one it came to, and whatever leaves by it leaves from there (SIP.md S1.3).
//!
//! A number is the listener's own plus a multiple of how many listeners there are, so the listener
//! is its remainder. The multiple is drawn from the address: a node that starts again gives an
//! address the number it had, as a rule. Pure but for the lock; knows no socket.

use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use siphasher::sip::SipHasher13;

/// Addresses told apart per listener. Datagrams to others are answered from where the system likes.
const SLOTS: usize = 256;

/// The numbers given so far; shared by all shards of a node.
#[derive(Debug)]
pub(super) struct Locals {
    listeners: u16,
    /// One row of slots per listener.
    rows: RwLock<Vec<Vec<Option<IpAddr>>>>,
}

impl Locals {
    /// For so many listeners.
    pub(super) fn new(listeners: u16) -> Self {
        let rows = vec![Vec::new(); usize::from(listeners)];
        Self {
            listeners,
            rows: RwLock::new(rows),
        }
    }

    /// The number of `local` at the listener; the listener's own if there is no room for more.
    pub(super) fn number(&self, listener: u16, local: IpAddr) -> u16 {
        let number = |slot| self.number_of_slot(listener, slot).unwrap_or(listener);
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = rows
            .get(usize::from(listener))
            .and_then(|row| find(row, local))
        {
            return number(slot);
        }
        drop(rows);
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = rows.get_mut(usize::from(listener)) else {
            return listener;
        };
        row.resize(SLOTS, None);
        let free = probe(local).find(|slot| row[*slot].is_none_or(|known| known == local));
        let Some(slot) = free else {
            return listener;
        };
        row[slot] = Some(local);
        number(slot)
    }

    /// The listener that a number belongs to.
    pub(super) fn listener(&self, number: u16) -> u16 {
        number.checked_rem(self.listeners).unwrap_or_default()
    }

    /// The address that a number stands for; none for a listener's own, and for one that was given
    /// in an earlier life and not yet in this one.
    pub(super) fn address(&self, number: u16) -> Option<IpAddr> {
        let slot = number.checked_div(self.listeners)?.checked_sub(1)?;
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let row = rows.get(usize::from(self.listener(number)))?;
        *row.get(usize::from(slot))?
    }

    fn number_of_slot(&self, listener: u16, slot: usize) -> Option<u16> {
        let turns = u16::try_from(slot).ok()?.checked_add(1)?;
        self.listeners.checked_mul(turns)?.checked_add(listener)
    }
}

/// Every slot once, from the address's own on.
fn probe(local: IpAddr) -> impl Iterator<Item = usize> {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    local.hash(&mut hasher);
    let slots = SLOTS as u64;
    let first = usize::try_from(hasher.finish() % slots).unwrap_or_default();
    (first..SLOTS).chain(0..first)
}

fn find(row: &[Option<IpAddr>], local: IpAddr) -> Option<usize> {
    if row.is_empty() {
        return None;
    }
    let known = |slot: &usize| row.get(*slot).copied().flatten();
    probe(local)
        .take_while(|slot| known(slot).is_some())
        .find(|slot| known(slot) == Some(local))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use super::*;

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + n).into()
    }

    /// Every address has a number of its own above the listeners', from which both listener and
    /// address come back; up to the bound, then the listener's own.
    #[test]
    fn numbers_name_listener_and_address() {
        let locals = Locals::new(3);
        let mut seen = BTreeSet::new();
        for listener in 0..3 {
            for n in 0..256 {
                let number = locals.number(listener, address(n));
                assert!(number >= 3 && seen.insert(number), "{listener} {n}");
                assert_eq!(locals.number(listener, address(n)), number);
                assert_eq!(locals.listener(number), listener);
                assert_eq!(locals.address(number), Some(address(n)));
            }
            assert_eq!(locals.number(listener, address(256)), listener);
            assert_eq!(locals.address(listener), None);
        }
    }

    /// After a restart an address has the number it had, in whatever order addresses are met; one
    /// not met yet stands for no address, and still for its listener.
    #[test]
    fn numbers_outlive_the_process() {
        let (one, other) = (Locals::new(2), Locals::new(2));
        let before: Vec<u16> = (0..3).map(|n| one.number(1, address(n))).collect();
        assert_eq!(other.address(before[0]), None);
        assert_eq!(other.listener(before[0]), 1);
        let mut after: Vec<u16> = (0..3).rev().map(|n| other.number(1, address(n))).collect();
        after.reverse();
        assert_eq!(before, after);
    }

    /// More listeners than numbers allow: the listener's own number, never another's.
    #[test]
    fn numbers_do_not_overflow() {
        let locals = Locals::new(u16::MAX);
        assert_eq!(locals.number(7, address(1)), 7);
        assert_eq!(Locals::new(0).listener(5), 0);
    }
}
