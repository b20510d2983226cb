//! Judges a draft: ranges, words, what excludes what; and holds every default. Collects all
//! complaints before it refuses.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use callring_proto::base::flow::Transport;
use callring_proto::cluster::policy::{AckPolicy, AlonePolicy, MergedPolicy, Replication, When};
use callring_proto::cluster::view::Role;
use callring_proto::wire;

use super::address::{advertised, host_port, is_dns_label, listener};
use super::draft::{Draft, DraftListener, NOT_YET};
use super::place::{Given, Place, Problem, Problems, nearest, one_of};
use super::{AppConfig, Cluster, Config, routing};
use crate::node::{MembershipPreset, Scope, SipListener};

/// Most shards of a node: one more thread than cores serves nobody.
pub(crate) const SHARDS_MAX: u16 = 128;
/// Most copies of a call: beyond a handful, each one only costs.
const COPIES_MAX: u64 = 7;
/// Largest weight: ten times the ordinary one; the ring grows with it.
const WEIGHT_MAX: u64 = 1_000;
/// Longest ringing: one minute, as long as a caller's own timer C would wait twice over.
const RING_MS_MAX: u64 = 60_000;
/// Longest call of the `answer` application: a day.
const HANGUP_AFTER_S_MAX: u64 = 86_400;
/// `silence_ms`: below, a scheduler's hiccup is a death; above, nobody waits for the takeover.
const SILENCE_MS: (u64, u64) = (10, 10_000);
/// `membership`.
const PRESETS: [(&str, MembershipPreset); 3] = [
    ("local", MembershipPreset::Local),
    ("lan", MembershipPreset::Lan),
    ("wan", MembershipPreset::Wan),
];
/// Calls of one Call-ID: beyond this the limit protects nobody.
const CALLS_PER_POSITION_MAX: u64 = 65_536;
/// Longest stop.
const STOP_TIMEOUT_S_MAX: u64 = 3_600;
/// Port of the fabric.
const CLUSTER_PORT: u16 = 7060;
/// SIP address if none is given: fit for a first try on one machine, and for nothing else.
const SIP_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5060);
/// Admin address if none is given.
const ADMIN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8060);

/// Judges. `problems` are those that reading has found already.
pub(super) fn check(draft: &Draft, problems: Vec<Problem>) -> Result<Config, Problems> {
    let mut judge = Judge {
        problems,
        warnings: Vec::new(),
    };
    let sip = judge.listeners(&draft.listeners);
    let cluster = judge.cluster(draft, &sip);
    let app = judge.app(draft, &sip);
    let config = Config {
        name: judge.name(draft),
        zone: judge.zone(draft.zone.as_ref()),
        weight: judge.number(draft.weight.as_ref(), 0, WEIGHT_MAX, 100),
        role: judge.role(draft.role.as_ref(), draft.pki.is_some()),
        shards: draft
            .shards
            .as_ref()
            .map(|shards| judge.number(Some(shards), 1, SHARDS_MAX.into(), 1)),
        stop_timeout: Duration::from_secs(judge.number(
            draft.stop_timeout_s.as_ref(),
            1,
            STOP_TIMEOUT_S_MAX,
            10,
        )),
        sip,
        replication: judge.replication(draft, cluster.is_some()),
        cluster,
        admin_listen: judge.admin(draft.admin_listen.as_ref()),
        app,
        warnings: Vec::new(),
    };
    if judge.problems.is_empty() {
        Ok(Config {
            warnings: judge.warnings,
            ..config
        })
    } else {
        Err(Problems(judge.problems))
    }
}

/// Collects complaints; each verb returns a value that serves as long as there are none.
struct Judge {
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Judge {
    fn name(&mut self, draft: &Draft) -> String {
        match &draft.name {
            Some(name) => {
                if !is_dns_label(&name.value) {
                    let text = format!(
                        "\"{}\" is no node name: letters, digits and inner hyphens, at most 63",
                        name.value.escape_debug()
                    );
                    self.problems.push(name.problem(text));
                } else if name.value.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    let text = format!("\"{}\": node names are lower case", name.value);
                    self.problems.push(name.problem(text));
                }
                name.value.clone()
            }
            None => {
                if draft.pki.is_some() {
                    self.missing("node.name", "a node of a cluster needs a name, the one of its certificate: name = \"sip-1\" or --name sip-1");
                }
                "standalone".into()
            }
        }
    }

    fn zone(&mut self, zone: Option<&Given<String>>) -> String {
        let Some(zone) = zone else {
            return String::new();
        };
        let printable = |byte: u8| byte.is_ascii_graphic();
        if zone.value.len() > 63 || !zone.value.bytes().all(printable) {
            let text = "a zone is at most 63 printable characters without spaces";
            self.problems.push(zone.problem(text));
        }
        zone.value.clone()
    }

    fn role(&mut self, role: Option<&Given<String>>, clustered: bool) -> Role {
        let chosen = self.word(
            role,
            &[("member", Role::Member), ("edge", Role::Edge)],
            Role::Member,
        );
        if let (Role::Edge, Some(role), false) = (chosen, role, clustered) {
            let text = "an edge gives its calls to the members of a cluster: set cluster.pki";
            self.problems.push(role.problem(text));
        }
        chosen
    }

    fn listeners(&mut self, drafts: &[DraftListener]) -> Vec<SipListener> {
        if drafts.is_empty() {
            self.warnings.push(format!(
                "no SIP listener is configured: listening on {SIP_DEFAULT}, which only this machine reaches"
            ));
            return vec![SipListener {
                listen: SIP_DEFAULT,
                advertise: None,
                scope: Scope::Node,
            }];
        }
        let mut listeners: Vec<SipListener> = Vec::new();
        for draft in drafts {
            let Some(listener) = self.listener(draft) else {
                continue;
            };
            let bound = listener.listen;
            if bound.port() != 0 && listeners.iter().any(|other| other.listen == bound) {
                let text = format!("udp://{bound} is configured twice");
                self.problems.push(draft.listen.problem(text));
            }
            listeners.push(listener);
        }
        listeners
    }

    fn listener(&mut self, draft: &DraftListener) -> Option<SipListener> {
        let parsed = match listener(&draft.listen.value) {
            Ok(parsed) => parsed,
            Err(text) => {
                self.problems.push(draft.listen.problem(text));
                return None;
            }
        };
        if parsed.transport != Transport::Udp {
            let name = parsed.transport.uri_name();
            let text = format!("transport {name} is {NOT_YET}; udp is");
            self.problems.push(draft.listen.problem(text));
        }
        let scopes = [("node", Scope::Node), ("cluster", Scope::Cluster)];
        let scope = self.word(draft.scope.as_ref(), &scopes, Scope::Node);
        let advertise = match (&draft.advertise, parsed.advertise) {
            (Some(key), Some(_)) => {
                let text = "advertise is given twice, as a key and in listen";
                self.problems.push(key.problem(text));
                None
            }
            (Some(key), None) => match advertised(&key.value) {
                Ok(advertise) => Some(advertise),
                Err(text) => {
                    self.problems.push(key.problem(text));
                    None
                }
            },
            (None, inline) => inline,
        };
        if parsed.listen.ip().is_unspecified() && advertise.is_none() && draft.advertise.is_none() {
            let text = format!(
                "{} is every address of this machine, and phones must be told one: add advertise, \
                 e.g. udp://{}?advertise=sip.example.com:{}",
                parsed.listen.ip(),
                parsed.listen,
                parsed.listen.port()
            );
            self.problems.push(draft.listen.problem(text));
        }
        Some(SipListener {
            listen: parsed.listen,
            advertise,
            scope,
        })
    }

    fn cluster(&mut self, draft: &Draft, sip: &[SipListener]) -> Option<Cluster> {
        let Some(pki) = &draft.pki else {
            let meant = [
                draft.seeds.first(),
                draft.cluster_listen.as_ref(),
                draft.cluster_advertise.as_ref(),
            ];
            if let Some(setting) = meant.into_iter().flatten().next() {
                let text = "a cluster needs certificates: pki = \"DIR\" or --pki DIR (`callring pki init` makes them)";
                self.problems.push(setting.problem(text));
            }
            return None;
        };
        if pki.value.is_empty() {
            self.problems
                .push(pki.problem("the directory of certificates is empty"));
        }
        let listen = match &draft.cluster_listen {
            Some(listen) => self.socket_addr(listen),
            // Beside SIP: members reach each other where phones reach them.
            None => sip
                .first()
                .map(|first| SocketAddr::new(first.listen.ip(), CLUSTER_PORT)),
        };
        let advertise = draft.cluster_advertise.as_ref().and_then(|advertise| {
            let address = self.socket_addr(advertise)?;
            if address.ip().is_unspecified() || address.port() == 0 {
                let text = format!("{address} is no address that a member can reach");
                self.problems.push(advertise.problem(text));
            }
            Some(address)
        });
        if let Some(listen) = listen
            && listen.ip().is_unspecified()
            && draft.cluster_advertise.is_none()
        {
            let place = match &draft.cluster_listen {
                Some(listen) => listen.place.clone(),
                None => Place::Missing("cluster.listen"),
            };
            self.problems.push(Problem {
                place,
                text: format!(
                    "{} is every address of this machine, and members must be told one: set \
                     cluster.advertise or --cluster-advertise",
                    listen.ip()
                ),
            });
        }
        self.seeds(&draft.seeds);
        Some(Cluster {
            listen: listen?,
            advertise,
            seeds: draft.seeds.iter().map(|seed| seed.value.clone()).collect(),
            pki: PathBuf::from(&pki.value),
            membership: self.word(draft.membership.as_ref(), &PRESETS, MembershipPreset::Lan),
            wire_max: self.number(
                draft.wire_max.as_ref(),
                u64::from(wire::VERSION) - 1,
                u64::from(wire::VERSION),
                u64::from(wire::VERSION),
            ),
        })
    }

    fn seeds(&mut self, seeds: &[Given<String>]) {
        for seed in seeds {
            if !matches!(host_port(&seed.value), Some((_, Some(_)))) {
                let text = format!(
                    "\"{}\" is no seed; a seed is HOST:PORT of another member's cluster address",
                    seed.value.escape_debug()
                );
                self.problems.push(seed.problem(text));
            }
        }
    }

    fn replication(&mut self, draft: &Draft, clustered: bool) -> Replication {
        let ack = [
            ("none", AckPolicy::None),
            ("one", AckPolicy::One),
            ("all", AckPolicy::All),
        ];
        let alone = [
            ("serve", AlonePolicy::Serve),
            ("refuse", AlonePolicy::Refuse),
        ];
        let (shortest, longest) = SILENCE_MS;
        let when = [("confirmed", When::Confirmed), ("early", When::Early)];
        let merged = [
            ("reject", MergedPolicy::Reject),
            ("accept", MergedPolicy::Accept),
        ];
        if let Some(app_data) = &draft.app_data
            && !app_data.value
        {
            self.problems
                .push(app_data.problem(format!("app_data = false is {NOT_YET}")));
        }
        // What joins two legs has more to lose while one of them rings.
        let joins = draft.app.as_ref().is_some_and(|app| app.value == "b2bua");
        let usual = if joins { When::Early } else { When::Confirmed };
        let replication = Replication {
            copies: self.number(draft.copies.as_ref(), 1, COPIES_MAX, 3),
            ack: self.word(draft.ack.as_ref(), &ack, AckPolicy::One),
            silence: Duration::from_millis(self.number(
                draft.silence_ms.as_ref(),
                shortest,
                longest,
                50,
            )),
            alone: self.word(draft.alone.as_ref(), &alone, AlonePolicy::Serve),
            when: self.word(draft.when.as_ref(), &when, usual),
            merged: self.word(draft.merged.as_ref(), &merged, MergedPolicy::Reject),
            calls_per_position: self.number(
                draft.calls_per_position.as_ref(),
                1,
                CALLS_PER_POSITION_MAX,
                64,
            ),
        };
        if clustered && replication.copies == 1 {
            self.warnings
                .push("copies = 1: no call has a copy, a node's calls die with it".into());
        }
        if clustered && replication.ack == AckPolicy::None {
            self.warnings.push(
                "ack = \"none\": phones are answered before any copy exists, a crash can lose answered calls".into(),
            );
        }
        if let Some(alone) = &draft.alone
            && !clustered
            && replication.alone == AlonePolicy::Refuse
        {
            let text = "\"refuse\" on a standalone node would refuse every call";
            self.problems.push(alone.problem(text));
        }
        replication
    }

    fn admin(&mut self, listen: Option<&Given<String>>) -> SocketAddr {
        let Some(given) = listen else {
            return ADMIN_DEFAULT;
        };
        let Some(address) = self.socket_addr(given) else {
            return ADMIN_DEFAULT;
        };
        if !address.ip().is_loopback() {
            let text = format!(
                "the admin interface has neither TLS nor credentials in this version, so it listens on loopback only, not on {address}"
            );
            self.problems.push(given.problem(text));
        }
        address
    }

    fn app(&mut self, draft: &Draft, sip: &[SipListener]) -> AppConfig {
        let known = [("answer", false), ("b2bua", true)];
        let joins = self.word(draft.app.as_ref(), &known, false);
        let open = draft.open.as_ref().is_some_and(|open| open.value);
        let exposed = sip.iter().find(|one| !one.listen.ip().is_loopback());
        let exposed = exposed.map(|one| one.listen.to_string());
        // On loopback only, everybody is oneself.
        let open = open || exposed.is_none() && draft.peers.is_empty();
        let routes = routing::judge(&draft.peers, &draft.routes, open, &mut self.problems);
        for app in draft.routes.iter().filter_map(|route| route.app.as_ref()) {
            let runs = if joins { "b2bua" } else { "answer" };
            if app.value != runs {
                let text = format!("another app than the node's, \"{runs}\", is {NOT_YET}");
                self.problems.push(app.problem(text));
            }
        }
        if joins {
            self.problems.extend(routing::lost(&draft.routes));
            let lack = routing::lacks(&routes, exposed.as_deref());
            if let (Some(lack), Some(app)) = (lack, &draft.app) {
                self.problems.push(app.problem(lack));
            }
            return AppConfig::B2bua(routes);
        }
        AppConfig::Answer {
            ring_after: Duration::from_millis(self.number(
                draft.ring_after_ms.as_ref(),
                0,
                RING_MS_MAX,
                0,
            )),
            ring: Duration::from_millis(self.number(draft.ring_ms.as_ref(), 0, RING_MS_MAX, 0)),
            hangup_after: draft.hangup_after_s.as_ref().map(|after| {
                Duration::from_secs(self.number(Some(after), 1, HANGUP_AFTER_S_MAX, 1))
            }),
        }
    }

    fn socket_addr(&mut self, given: &Given<String>) -> Option<SocketAddr> {
        let parsed = given.value.parse().ok();
        if parsed.is_none() {
            let text = format!(
                "\"{}\" is not IP:PORT, e.g. 10.0.0.1:7060 or [2001:db8::1]:7060",
                given.value.escape_debug()
            );
            self.problems.push(given.problem(text));
        }
        parsed
    }

    fn number<T: TryFrom<u64> + Default>(
        &mut self,
        given: Option<&Given<u64>>,
        least: u64,
        most: u64,
        default: u64,
    ) -> T {
        let value = match given {
            None => default,
            Some(given) if (least..=most).contains(&given.value) => given.value,
            Some(given) => {
                let text = format!("{} is out of range: {least} to {most}", given.value);
                self.problems.push(given.problem(text));
                default
            }
        };
        T::try_from(value).unwrap_or_default()
    }

    fn word<T: Copy>(
        &mut self,
        given: Option<&Given<String>>,
        words: &[(&str, T)],
        default: T,
    ) -> T {
        let Some(given) = given else {
            return default;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == given.value) {
            return *value;
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = nearest(&given.value, &known)
            .map(|near| format!("; did you mean \"{near}\"?"))
            .unwrap_or_default();
        let text = format!(
            "\"{}\" is not {}{hint}",
            given.value.escape_debug(),
            one_of(&known)
        );
        self.problems.push(given.problem(text));
        default
    }

    fn missing(&mut self, what: &'static str, text: &str) {
        self.problems.push(Problem {
            place: Place::Missing(what),
            text: text.into(),
        });
    }
}
