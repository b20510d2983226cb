//! From what is known of the cluster to one word and plain advice. Pure.

use super::api::{Member, State, Verdict};

/// What the judgement rests on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence<'a> {
    /// The member that answers.
    pub(crate) me: &'a str,
    /// Whether it is in a cluster at all.
    pub(crate) clustered: bool,
    /// All members it knows.
    pub(crate) members: &'a [Member],
    /// Live members that did not answer.
    pub(crate) unreachable: &'a [String],
    /// Members that owe this node's shards an answer.
    pub(crate) silent: &'a [String],
    /// Shards of this node that did not answer.
    pub(crate) shards_mute: usize,
    /// Copies per call, as configured, the owner's included.
    pub(crate) copies: usize,
    /// Owned calls with fewer copies, over all members.
    pub(crate) under_replicated: u64,
    /// Answered calls that only one live member has, over all members.
    pub(crate) uncovered: u64,
    /// Whether this member hears too few to act for the cluster.
    pub(crate) in_minority: bool,
    /// Messages that left without a copy, over all members.
    pub(crate) degraded: u64,
}

/// The judgement: the worst of all findings, and their advice, the worst first.
pub(crate) fn judge(evidence: &Evidence<'_>) -> (Verdict, Vec<String>) {
    let mut findings: Vec<(Verdict, String)> = Vec::new();
    let mut find = |verdict, text: String| findings.push((verdict, text));
    if evidence.shards_mute > 0 {
        let (mute, me) = (evidence.shards_mute, evidence.me);
        find(
            Verdict::Critical,
            format!(
                "shards of {me} that do not answer: {mute}; their calls stand still: restart {me}, the others take its calls over"
            ),
        );
    }
    if evidence.clustered {
        judge_members(evidence, &mut find);
        judge_draining(evidence, &mut find);
        judge_copies(evidence, &mut find);
        judge_likeness(evidence, &mut find);
    } else {
        find(
            Verdict::Ok,
            "standalone: calls have no copies and end with this node".into(),
        );
    }
    // Stable: findings of one weight keep the order in which they were looked for.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.0));
    let verdict = findings.first().map_or(Verdict::Ok, |worst| worst.0);
    (
        verdict,
        findings.into_iter().map(|(_, text)| text).collect(),
    )
}

fn judge_members(evidence: &Evidence<'_>, find: &mut impl FnMut(Verdict, String)) {
    let in_state = |state| -> Vec<&str> {
        let members = evidence
            .members
            .iter()
            .filter(|member| member.state == state);
        members.map(|member| member.name.as_str()).collect()
    };
    let down = in_state(State::Down);
    if !down.is_empty() {
        let names = down.join(", ");
        find(
            Verdict::Degraded,
            format!(
                "{names}: down; start again, or leave it if it is gone for good: its calls are taken over"
            ),
        );
    }
    let suspect = in_state(State::Suspect);
    if !suspect.is_empty() {
        let names = suspect.join(", ");
        find(
            Verdict::Degraded,
            format!("{names}: missed a probe, may be down or overloaded"),
        );
    }
    if evidence.in_minority {
        let me = evidence.me;
        find(
            Verdict::Critical,
            format!(
                "{me} hears half of the cluster or less: calls of those missing wait until a phone \
                 asks for them, and no call ends for time alone; mend the network, start the \
                 missing members, or start others in their place"
            ),
        );
    }
    if !evidence.unreachable.is_empty() {
        let names = evidence.unreachable.join(", ");
        find(
            Verdict::Degraded,
            format!(
                "{names}: alive and did not answer within a second; the sums lack what they have"
            ),
        );
    }
    if !evidence.silent.is_empty() {
        let names = evidence.silent.join(", ");
        let me = evidence.me;
        find(
            Verdict::Degraded,
            format!(
                "{names}: silent towards {me} just now; its calls are taken over when a phone asks for them"
            ),
        );
    }
}

fn judge_draining(evidence: &Evidence<'_>, find: &mut impl FnMut(Verdict, String)) {
    let draining = |member: &&Member| is_live(member) && member.draining;
    for member in evidence.members.iter().filter(draining) {
        let (name, calls) = (&member.name, member.calls_owned);
        let left = calls.map_or_else(String::new, |calls| {
            format!(" ({} left)", counted(calls, "call", "calls"))
        });
        find(
            Verdict::Ok,
            format!(
                "{name}: draining{left}, its calls go to the others; `callring undrain` there \
                 takes it back"
            ),
        );
    }
}

fn judge_copies(evidence: &Evidence<'_>, find: &mut impl FnMut(Verdict, String)) {
    // Draining ones too: they hold copies where the others are too few.
    let may_hold =
        |member: &&Member| is_live(member) && member.role == "member" && member.weight > 0;
    let holders = evidence.members.iter().filter(may_hold).count();
    if holders <= 1 && evidence.copies > 1 {
        find(
            Verdict::Critical,
            "no other member lives: new calls have no copies and end with this node; start \
             another member"
                .into(),
        );
    } else if holders < evidence.copies {
        let copies = evidence.copies;
        find(
            Verdict::Degraded,
            format!(
                "{holders} members can hold copies, {copies} copies are configured; start another member or lower `copies`"
            ),
        );
    }
    if evidence.under_replicated > 0 {
        let calls = counted(evidence.under_replicated, "call has", "calls have");
        find(
            Verdict::Degraded,
            format!(
                "{calls} fewer live copies than configured; wait for the repair before stopping another member"
            ),
        );
    }
    if evidence.uncovered > 0 {
        let calls = counted(evidence.uncovered, "call lies", "calls lie");
        find(
            Verdict::Degraded,
            format!(
                "{calls} with one live member only; ask `callring safe-to-stop` before stopping one"
            ),
        );
    }
    if evidence.degraded > 0 {
        let messages = counted(evidence.degraded, "message", "messages");
        find(
            Verdict::Ok,
            format!("{messages} left without any copy since the members started"),
        );
    }
}

fn judge_likeness(evidence: &Evidence<'_>, find: &mut impl FnMut(Verdict, String)) {
    let live: Vec<&Member> = evidence
        .members
        .iter()
        .filter(|member| is_live(member))
        .collect();
    let Some(me) = live.iter().find(|member| member.name == evidence.me) else {
        return;
    };
    // A member whose metadata has not arrived yet has an empty version.
    let known = || live.iter().filter(|member| !member.version.is_empty());
    let names = |differs: &dyn Fn(&Member) -> bool| -> String {
        let names: Vec<&str> = known()
            .filter(|member| differs(member))
            .map(|member| member.name.as_str())
            .collect();
        names.join(", ")
    };
    let other_config = names(&|member| member.config_hash != me.config_hash);
    if !other_config.is_empty() {
        find(
            Verdict::Degraded,
            format!(
                "{other_config}: configured otherwise than {}; [replication] and [app] should be the same everywhere",
                me.name
            ),
        );
    }
    let other_version = names(&|member| member.version != me.version);
    if !other_version.is_empty() {
        find(
            Verdict::Ok,
            format!(
                "{other_version}: another version than {}'s {}; finish the upgrade",
                me.name, me.version
            ),
        );
    }
}

fn is_live(member: &Member) -> bool {
    matches!(member.state, State::Alive | State::Suspect)
}

/// A number and what it counts.
pub(crate) fn counted(count: impl TryInto<u64>, one: &str, many: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, state: State) -> Member {
        Member {
            name: name.into(),
            state,
            draining: false,
            role: "member".into(),
            zone: String::new(),
            weight: 100,
            incarnation: 1,
            cluster_addr: None,
            sip: Vec::new(),
            version: "1".into(),
            config_hash: "a".into(),
            rtt_us: None,
            calls_owned: None,
            calls_replica: None,
        }
    }

    /// Each finding alone: its weight and the words that name it.
    #[test]
    fn findings() {
        use State::{Alive, Down, Left, Suspect};
        let three = |third| vec![member("a", Alive), member("b", Alive), member("c", third)];
        let names = ["b".to_owned()];
        let healthy = Evidence {
            me: "a",
            clustered: true,
            copies: 2,
            ..Evidence::default()
        };
        let changed = |change: fn(&mut Member)| {
            let mut members = three(Alive);
            change(&mut members[2]);
            members
        };
        let cases: Vec<(Vec<Member>, Evidence<'_>, Verdict, &str)> = vec![
            (three(Alive), healthy.clone(), Verdict::Ok, ""),
            (three(Left), healthy.clone(), Verdict::Ok, ""),
            (three(Down), healthy.clone(), Verdict::Degraded, "c: down"),
            (
                three(Suspect),
                healthy.clone(),
                Verdict::Degraded,
                "c: missed a probe",
            ),
            (
                vec![member("a", Alive), member("b", Left)],
                healthy.clone(),
                Verdict::Critical,
                "no other member lives",
            ),
            (
                three(Alive),
                Evidence {
                    copies: 4,
                    ..healthy.clone()
                },
                Verdict::Degraded,
                "3 members can hold copies, 4 copies are configured",
            ),
            (
                three(Alive),
                Evidence {
                    under_replicated: 1,
                    ..healthy.clone()
                },
                Verdict::Degraded,
                "1 call has fewer live copies",
            ),
            (
                three(Alive),
                Evidence {
                    degraded: 2,
                    ..healthy.clone()
                },
                Verdict::Ok,
                "2 messages left without any copy",
            ),
            (
                three(Alive),
                Evidence {
                    unreachable: &names,
                    ..healthy.clone()
                },
                Verdict::Degraded,
                "b: alive and did not answer",
            ),
            (
                three(Alive),
                Evidence {
                    silent: &names,
                    ..healthy.clone()
                },
                Verdict::Degraded,
                "b: silent towards a",
            ),
            (
                three(Alive),
                Evidence {
                    shards_mute: 1,
                    ..healthy.clone()
                },
                Verdict::Critical,
                "shards of a that do not answer: 1",
            ),
            (
                changed(|c| c.config_hash = "b".into()),
                healthy.clone(),
                Verdict::Degraded,
                "c: configured otherwise than a",
            ),
            (
                changed(|c| c.version = "2".into()),
                healthy.clone(),
                Verdict::Ok,
                "c: another version than a's 1",
            ),
            (
                Vec::new(),
                Evidence {
                    clustered: false,
                    ..healthy.clone()
                },
                Verdict::Ok,
                "standalone",
            ),
        ];
        for (members, evidence, verdict, begins) in cases {
            let evidence = Evidence {
                members: &members,
                ..evidence
            };
            let (found, advice) = judge(&evidence);
            assert_eq!(found, verdict, "{advice:?}");
            match begins {
                "" => assert_eq!(advice, [""; 0]),
                begins => assert!(
                    advice.len() == 1 && advice[0].starts_with(begins),
                    "{advice:?}"
                ),
            }
        }
    }

    /// Draining is said and no fault; calls that lie in one place only are one.
    #[test]
    fn draining_and_uncovered() {
        let draining = |mut member: Member| {
            (member.draining, member.calls_owned) = (true, Some(1));
            member
        };
        let alive = |name| member(name, State::Alive);
        let three = [alive("a"), alive("b"), draining(alive("c"))];
        let evidence = Evidence {
            me: "a",
            clustered: true,
            members: &three,
            copies: 2,
            ..Evidence::default()
        };
        let (verdict, advice) = judge(&evidence);
        assert_eq!(verdict, Verdict::Ok);
        assert!(
            advice[0].starts_with("c: draining (1 call left)"),
            "{advice:?}"
        );
        let (verdict, advice) = judge(&Evidence {
            uncovered: 2,
            ..evidence
        });
        assert_eq!(verdict, Verdict::Degraded);
        assert!(
            advice[0].starts_with("2 calls lie with one live"),
            "{advice:?}"
        );
    }

    /// Where nobody adopts, the operator learns it and what to do.
    #[test]
    fn a_minority_is_critical() {
        let members = ["a", "b", "c"].map(|name| member(name, State::Alive));
        let (verdict, advice) = judge(&Evidence {
            me: "a",
            clustered: true,
            members: &members,
            copies: 2,
            in_minority: true,
            ..Evidence::default()
        });
        assert_eq!(verdict, Verdict::Critical);
        let begins = advice[0].starts_with("a hears half of the cluster or less");
        assert!(begins && advice.len() == 1, "{advice:?}");
    }

    /// Several findings: the worst decides and comes first.
    #[test]
    fn worst_first() {
        let members = [member("a", State::Alive), member("b", State::Down)];
        let evidence = Evidence {
            me: "a",
            clustered: true,
            members: &members,
            copies: 3,
            degraded: 1,
            ..Evidence::default()
        };
        let (verdict, advice) = judge(&evidence);
        assert_eq!(verdict, Verdict::Critical);
        let begins: Vec<&str> = advice.iter().map(|text| &text[..6]).collect();
        assert_eq!(begins, ["no oth", "b: dow", "1 mess"]);
    }
}
