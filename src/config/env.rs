//! The environment as it was when the program started: the only reader of it. Everything else is
//! handed an [`Env`], so that tests bring their own.

use std::collections::BTreeMap;

use super::place::nearest;

/// Every variable that means something to callring.
const KNOWN: [&str; 14] = [
    "CALLRING_ADMIN",
    "CALLRING_ADMIN_LISTEN",
    "CALLRING_APP",
    "CALLRING_CLUSTER_ADVERTISE",
    "CALLRING_CLUSTER_LISTEN",
    "CALLRING_CONFIG",
    "CALLRING_LOG",
    "CALLRING_LOG_FORMAT",
    "CALLRING_NAME",
    "CALLRING_PKI",
    "CALLRING_ROLE",
    "CALLRING_SEED",
    "CALLRING_SIP",
    "CALLRING_ZONE",
];

/// The variables that begin with `CALLRING_`.
#[derive(Clone, Debug, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The process's own.
    #[must_use]
    pub fn of_process() -> Self {
        let ours = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with("CALLRING_")
                .then(|| (name, value.to_string_lossy().into_owned()))
        });
        Self(ours.collect())
    }

    /// One made by hand.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self(pairs.into_iter().map(owned).collect())
    }

    /// The value of a variable; an empty one counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        debug_assert!(
            KNOWN.contains(&name),
            "{name} is not in the list of variables"
        );
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// One line for each variable that looks like ours and means nothing.
    ///
    /// `CALLRING_SERVICE_*` and `CALLRING_PORT*` are let be: Kubernetes sets them by itself for a
    /// service of that name.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let unknown = self.0.keys().filter(|name| {
            !KNOWN.contains(&name.as_str())
                && !name.starts_with("CALLRING_SERVICE_")
                && !name.starts_with("CALLRING_PORT")
        });
        unknown
            .map(|name| match nearest(name, &KNOWN) {
                Some(near) => format!("{name} is set and means nothing; did you mean {near}?"),
                None => format!("{name} is set and means nothing"),
            })
            .collect()
    }
}
