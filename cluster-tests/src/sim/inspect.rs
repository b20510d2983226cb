//! Looks inside nodes, for the judge and the counters: gauges, the books when all is well, the last
//! trace of every call.

use std::time::Duration;

use callring_proto::base::ids::CallId;
use callring_proto::base::time::Instant;
use callring_proto::io::{Answer, Ask, Input, Output, Summary};

use super::books::{Books, Page};
use super::invariants::{Invariant, copies, counters, residue};
use super::node::{Life, name};
use super::plan::Budget;
use super::world::{Event, World};

/// How often the books are looked at anew before they are found wrong.
const BOOKS_AGAIN: u8 = 3;

impl World {
    /// Adds up a life's counters before it goes.
    pub(super) fn harvest(&mut self, node: usize) {
        let now = self.now;
        if let Some(life) = self.nodes[node].life.as_mut() {
            for summary in summaries(life, now) {
                self.exercise.takeovers += summary.takeovers_total;
            }
        }
    }

    /// All is well and has been for a while: everything must be in its place.
    pub(super) fn balance(&mut self) {
        self.exercise.books += u64::from(self.books_again == 0);
        let now = self.now;
        let mut shards = Vec::new();
        let mut nodes = 0;
        for node in &mut self.nodes {
            let Some(life) = node.life.as_mut() else {
                continue;
            };
            nodes += 1;
            let counted = summaries(life, now);
            for (shard, summary) in life.shards.iter().zip(counted) {
                shards.push(Page {
                    member: life.me,
                    holdings: shard.holdings().collect(),
                    calls_owned: summary.calls_owned,
                    calls_replica: summary.calls_replica,
                    under_replicated: summary.under_replicated,
                });
            }
        }
        let books = Books {
            shards,
            expected: self.in_call().filter(|key| !self.is_lost(*key)).collect(),
            over: self.over().collect(),
            copies: self.plan.copies,
            nodes,
        };
        // Where half of the nodes are dead, nobody adopts what they owned (PROTOCOL.md section 4).
        let majority = books.nodes * 2 > self.plan.nodes;
        if !majority {
            return;
        }
        let unrestored = copies::are_restored(&books);
        let untrue = counters::add_up(&books);
        // A claim or a change of replicas under way takes a moment; what is amiss stays so.
        if !(unrestored.is_empty() && untrue.is_empty()) && self.books_again < BOOKS_AGAIN {
            self.books_again += 1;
            return self.push(now + Duration::from_millis(700), Event::Books);
        }
        for what in unrestored {
            self.judge.blame(now, Invariant::CopiesRestored, what);
        }
        for what in untrue {
            self.judge.blame(now, Invariant::CountersTrue, what);
        }
    }

    /// Calls whose end a phone was told.
    fn over(&self) -> impl Iterator<Item = CallId> + '_ {
        let ended = self.judge.told.iter().filter(|(_, told)| told.ended);
        ended.map(|(key, _)| *key)
    }

    /// Whether as many members died as the call has copies, and nothing is left of it (PROTOCOL.md
    /// section 4). It has one where it was told so: nobody was there to copy it to. Or whether,
    /// after a partition, the owner that is left never knew of the answer (same section).
    pub(super) fn is_lost(&self, key: CallId) -> bool {
        let beyond = self.plan.budget != Budget::Within;
        let deaths = usize::try_from(self.exercise.crashes).unwrap_or(usize::MAX);
        let mut nodes = 0..self.nodes.len();
        let told = self.judge.told.get(&key);
        if self.plan.budget == Budget::Split && told.is_some_and(|told| told.undone) {
            return true;
        }
        let alone = told.is_some_and(|told| told.alone);
        let copies = if alone { 1 } else { self.plan.copies };
        beyond && deaths >= copies && nodes.all(|node| self.holding(node, key).is_none())
    }

    /// Every phone has hung up long ago.
    pub(super) fn look_for_traces(&mut self) {
        self.exercise.to_the_last += 1;
        // Where half of the nodes are dead, what only time ends waits for the others.
        let lives = self.nodes.iter().filter(|node| node.life.is_some());
        if lives.count() * 2 <= self.plan.nodes {
            return;
        }
        for (node, one) in self.nodes.iter().enumerate() {
            let Some(life) = &one.life else { continue };
            for (index, shard) in life.shards.iter().enumerate() {
                if let Some(what) = residue::nothing(node, index, &shard.residue()) {
                    for (key, holding) in shard.holdings() {
                        self.note(|| format!("{} keeps {key:?}: {holding:?}", name(node)));
                    }
                    self.judge.blame(self.now, Invariant::NothingLeft, what);
                }
            }
        }
    }

    /// The application must have counted every INFO that was answered, once.
    pub(super) fn count(&mut self, index: usize, key: CallId) {
        let shard = usize::from(key.shard(self.plan.shards));
        self.next_ask += 1;
        let ask = self.next_ask;
        self.asks.insert(ask, (index, key));
        // A node that stands still may believe in an ownership that is over; where the newest owner
        // has just died only copies know better.
        let nodes = self.nodes.iter().enumerate();
        let holders = nodes.filter_map(|(node, one)| {
            let holding = one.life.as_ref()?.shards.get(shard)?.holding(key)?;
            Some((holding.ballot, holding.owned, node))
        });
        let Some((_, true, node)) = holders.max() else {
            return;
        };
        let now = self.now;
        if let Some(life) = self.nodes[node].life.as_mut() {
            let request = Ask::Call(key);
            life.ask(shard, Input::Ask { ask, request }, now);
            self.drain(node);
        }
    }

    pub(super) fn on_answer(&mut self, ask: u64, answer: Answer) {
        let Some((index, key)) = self.asks.remove(&ask) else {
            return;
        };
        let Answer::Call(Some(detail)) = answer else {
            return;
        };
        let expected = format!("infos: {},", self.phones[index].infos);
        if !detail.app_state.contains(&expected) && self.plan.budget == Budget::Within {
            let what = format!(
                "{key:?}: phone saw {expected} state is {}",
                detail.app_state
            );
            let invariant = Invariant::LeaderCompleteness;
            self.judge.blame(self.now, invariant, what);
        }
    }
}

/// What each shard of a node says of itself.
fn summaries(life: &mut Life, at: Instant) -> Vec<Summary> {
    let mut found = Vec::new();
    for shard in 0..life.shards.len() {
        let request = Ask::Summary;
        life.ask(shard, Input::Ask { ask: 0, request }, at);
        found.extend(life.poll_shard(shard, at).map(|output| match output {
            Output::Answer {
                answer: Answer::Summary(summary),
                ..
            } => *summary,
            other => unreachable!("a shard at rest says {other:?}"),
        }));
    }
    found
}
