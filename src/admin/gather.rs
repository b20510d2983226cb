//! Gathers: asks this node's shards and every live member's desk, all at once. A member that does
//! not answer in time is named, never waited for.
//!
//! Between members a question and its reply are JSON: members of different versions talk, and a
//! question nobody knows is answered with an error instead of a broken link.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callring_proto::base::ids::{CallId, NodeId};
use callring_proto::cluster::view::View;
use callring_proto::io::{Answer, Ask, CallDetail, CallFilter, CallSummary, Summary};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::door::Door;
use super::total::total;

/// How long a member may take to answer.
const MEMBER_TIMEOUT: Duration = Duration::from_secs(1);
/// A question from desk to desk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Question {
    Summary,
    Calls(CallFilter),
    Call(CallId),
}

/// The reply to a [`Question`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reply {
    Summary(Box<NodeSummary>),
    Calls(Vec<CallSummary>),
    Call(Option<Box<CallDetail>>),
    Error(String),
}

/// The sum over a node's shards.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct NodeSummary {
    pub(super) summary: Summary,
    pub(super) shards_mute: usize,
}

/// The replies of all live members, and who gave none.
pub(super) struct Replies {
    pub(super) by_node: BTreeMap<NodeId, Reply>,
    pub(super) unreachable: Vec<String>,
}

impl Replies {
    /// What the node `me` said of itself.
    pub(super) fn summary(&self, me: NodeId) -> NodeSummary {
        match self.by_node.get(&me) {
            Some(Reply::Summary(node)) => (**node).clone(),
            _ => NodeSummary::default(),
        }
    }
}

/// Asks around.
#[derive(Clone)]
pub(super) struct Gather {
    pub(super) door: Arc<dyn Door>,
    shards: usize,
}

impl Gather {
    /// For the node behind `door`, which has so many shards.
    pub(super) fn new(door: Arc<dyn Door>, shards: usize) -> Self {
        Self { door, shards }
    }

    /// Answers another member's desk.
    pub(super) async fn reply(&self, question: &[u8]) -> Bytes {
        let reply = match serde_json::from_slice(question) {
            Ok(question) => self.answer(question).await,
            Err(error) => Reply::Error(format!("question not understood: {error}")),
        };
        match serde_json::to_vec(&reply) {
            Ok(bytes) => bytes.into(),
            Err(error) => {
                tracing::error!(%error, "a reply to another member's desk is no JSON");
                Bytes::new()
            }
        }
    }

    /// The sum over this node's shards.
    pub(super) async fn own(&self) -> NodeSummary {
        let answers = self.door.ask(Ask::Summary).await;
        let summaries: Vec<&Summary> = answers
            .iter()
            .filter_map(|answer| match answer {
                Answer::Summary(summary) => Some(&**summary),
                _ => None,
            })
            .collect();
        NodeSummary {
            shards_mute: self.shards.saturating_sub(summaries.len()),
            summary: total(summaries),
        }
    }

    /// Answers a question for this node alone.
    async fn answer(&self, question: Question) -> Reply {
        match question {
            Question::Summary => Reply::Summary(Box::new(self.own().await)),
            Question::Calls(filter) => {
                let answers = self.door.ask(Ask::Calls(filter)).await;
                let calls = answers.into_iter().filter_map(|answer| match answer {
                    Answer::Calls(calls) => Some(calls),
                    _ => None,
                });
                Reply::Calls(calls.flatten().collect())
            }
            Question::Call(key) => {
                let answers = self.door.ask(Ask::Call(key)).await;
                let detail = answers.into_iter().find_map(|answer| match answer {
                    Answer::Call(detail) => detail,
                    _ => None,
                });
                Reply::Call(detail)
            }
        }
    }

    /// Asks this node and every other live member, all at once.
    pub(super) async fn ask_all(&self, view: &View, question: Question) -> Replies {
        let me = view.me.node;
        let mut asked = JoinSet::new();
        let request = serde_json::to_vec(&question).map_or_else(|_| Bytes::new(), Bytes::from);
        for member in view.live().filter(|member| member.id.node != me) {
            let (node, name) = (member.id.node, member.name.to_string());
            let (door, request) = (self.door.clone(), request.clone());
            asked.spawn(async move {
                let reply = ask_one(&*door, node, request).await;
                (node, name, reply)
            });
        }
        let mut by_node = BTreeMap::from([(me, self.answer(question).await)]);
        let mut unreachable = Vec::new();
        while let Some(joined) = asked.join_next().await {
            match joined {
                Ok((node, _, Ok(reply))) => {
                    by_node.insert(node, reply);
                }
                Ok((_, name, Err(error))) => {
                    tracing::debug!(member = %name, %error, "a member's desk did not answer");
                    unreachable.push(name);
                }
                Err(error) => tracing::error!(%error, "asking a member's desk failed"),
            }
        }
        unreachable.sort();
        Replies {
            by_node,
            unreachable,
        }
    }
}

async fn ask_one(door: &dyn Door, node: NodeId, request: Bytes) -> Result<Reply, String> {
    let answered = tokio::time::timeout(MEMBER_TIMEOUT, door.ask_member(node, request)).await;
    let bytes = answered.map_err(|_| "no answer in time".to_owned())??;
    match serde_json::from_slice(&bytes) {
        Ok(Reply::Error(error)) => Err(error),
        Ok(reply) => Ok(reply),
        Err(error) => Err(format!("answer not understood: {error}")),
    }
}
