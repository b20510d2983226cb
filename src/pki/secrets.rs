//! `cluster.key`: what every member of a cluster knows and nobody else. Never printed, never
//! logged.

use std::fmt;
use std::fmt::Write as _;

use callring_proto::sip::locator::{self, SealKeys, Sealer};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use crate::config::tree::{Document, Section};

/// The secrets of a cluster.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSecrets {
    /// The cluster's name, for people.
    pub cluster: String,
    /// The cluster's identity: drawn once, part of the fabric's ALPN.
    pub id: ByteArray<16>,
    /// Key of the hash from Call-IDs to positions. Never rotates: positions are for life.
    pub position: ByteArray<16>,
    /// Key of the tags and nonces that are computed instead of stored.
    pub stateless: ByteArray<16>,
    /// The number of the seal key that seals; the other one only opens.
    pub current: u8,
    /// Keys that seal locators: one, or two while one replaces the other.
    pub seals: Vec<SealKey>,
}

/// A key that seals locators.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealKey {
    /// Its number, in every locator: 0 to 15.
    pub id: u8,
    /// A key of AES-SIV, 256 bits.
    pub key: ByteArray<32>,
}

impl ClusterSecrets {
    /// Secrets of a new cluster, from the operating system's randomness.
    pub(crate) fn draw(cluster: &str) -> Result<Self, String> {
        Ok(Self {
            cluster: cluster.into(),
            id: random()?,
            position: random()?,
            stateless: random()?,
            current: 1,
            seals: vec![SealKey {
                id: 1,
                key: random()?,
            }],
        })
    }

    /// The keys as the core's sealer takes them. The error is one line without a secret.
    ///
    /// # Errors
    /// If there are not one or two keys with numbers of their own, one of them the current.
    pub fn seal_keys(&self) -> Result<SealKeys, String> {
        let key = |seal: &SealKey| locator::SealKey {
            id: seal.id,
            key: seal.key.into_array(),
        };
        let (current, others): (Vec<&SealKey>, Vec<&SealKey>) =
            self.seals.iter().partition(|seal| seal.id == self.current);
        let ([current], [] | [_]) = (&current[..], &others[..]) else {
            return Err(format!(
                "needs one [[seal]] with the current id {}, and at most one other",
                self.current
            ));
        };
        let keys = SealKeys {
            current: key(current),
            previous: others.first().map(|seal| key(seal)),
            position_secret: self.position.into_array(),
            stateless_secret: self.stateless.into_array(),
        };
        // The core says what it can't work with.
        Sealer::new(keys.clone()).map_err(|error| error.to_string())?;
        Ok(keys)
    }

    /// The id as text.
    #[must_use]
    pub fn id_hex(&self) -> String {
        hex(self.id.as_slice())
    }

    /// The content of `cluster.key`.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = format!(
            "# Secrets of the callring cluster \"{name}\": the same file at every node, readable by\n\
             # nobody else. Whoever has it can forge the tokens by which calls are found.\n\
             cluster = \"{name}\"\n\
             id = \"{id}\"\n\
             position_secret = \"{position}\"\n\
             stateless_secret = \"{stateless}\"\n\
             # The seal key in use; another one only opens what it sealed.\n\
             current = {current}\n",
            name = self.cluster,
            id = self.id_hex(),
            position = hex(self.position.as_slice()),
            stateless = hex(self.stateless.as_slice()),
            current = self.current,
        );
        for seal in &self.seals {
            let key = hex(seal.key.as_slice());
            write!(text, "\n[[seal]]\nid = {}\nkey = \"{key}\"\n", seal.id)
                .expect("writing to a String");
        }
        text
    }

    /// Reads `cluster.key`. The error is one line without the file's name, and quotes no secret.
    pub(crate) fn from_toml(text: &str) -> Result<Self, String> {
        let document = Document::new("line", text);
        // The parser's own complaint may quote what it stumbled over.
        let tree = document
            .parse()
            .map_err(|_| "is not what `callring pki init` wrote: it is no TOML".to_owned())?;
        let mut top = document.top(tree.get_ref());
        let cluster = top.string("cluster").map(|given| given.value);
        let id = bytes(&mut top, "id");
        let position = bytes(&mut top, "position_secret");
        let stateless = bytes(&mut top, "stateless_secret");
        let current = small(&mut top, "current");
        let mut seals = Vec::new();
        for mut seal in top.tables("seal") {
            let (id, key) = (small(&mut seal, "id"), bytes(&mut seal, "key"));
            seal.finish();
            seals.push(SealKey { id: id?, key: key? });
        }
        top.finish();
        if let Some(problem) = document.into_problems().first() {
            return Err(format!("is not what `callring pki init` wrote: {problem}"));
        }
        let secrets = Self {
            cluster: cluster.ok_or("`cluster` is missing")?,
            id: id?,
            position: position?,
            stateless: stateless?,
            current: current?,
            seals,
        };
        secrets.seal_keys()?;
        Ok(secrets)
    }
}

impl fmt::Debug for ClusterSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSecrets")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn random<const N: usize>() -> Result<ByteArray<N>, String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| format!("no randomness: {error}"))?;
    Ok(ByteArray::new(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String");
        text
    })
}

fn bytes<const N: usize>(
    section: &mut Section<'_, '_>,
    key: &'static str,
) -> Result<ByteArray<N>, String> {
    let expected = || format!("`{key}` must be {} hexadecimal digits", 2 * N);
    let text = section.string(key).ok_or_else(expected)?.value;
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(expected());
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = str::from_utf8(digits).map_err(|_| expected())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| expected())?;
    }
    Ok(ByteArray::new(bytes))
}

fn small(section: &mut Section<'_, '_>, key: &'static str) -> Result<u8, String> {
    let given = section.number(key);
    given
        .and_then(|given| u8::try_from(given.value).ok())
        .ok_or_else(|| format!("`{key}` must be a number from 0 to 255"))
}
