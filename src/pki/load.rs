//! Reads a node's certificate, keys and the cluster's secrets, and checks everything that would
//! otherwise come out as a refused handshake on some other machine.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{KeyPair, PublicKeyData as _};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{CA_PEM, CLUSTER_KEY, ClusterSecrets, PkiError, read, read_secret};
use crate::node::Pki;

/// Days before the end of a certificate from which on a start warns.
const WARN_DAYS: i64 = 30;
const DAY_S: i64 = 24 * 60 * 60;

/// All that makes a node a member of its cluster.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The node's name, the first DNS name of its certificate.
    pub name: String,
    /// Certificates and key for the fabric.
    pub pki: Pki,
    /// The cluster's secrets.
    pub secrets: ClusterSecrets,
    /// What an operator should know though the node can start.
    pub warnings: Vec<String>,
}

/// Reads what the node `name` needs from `dir`, as of `now`.
///
/// # Errors
/// The first file that is missing, open to others, or not what it should be.
pub fn load(dir: &Path, name: &str, now: SystemTime) -> Result<Identity, PkiError> {
    if !dir.is_dir() {
        let text = "is no directory; `callring pki init` makes one";
        return Err(PkiError::new(dir, text));
    }
    let hint = format!(
        "`callring pki issue --dir {} --name {name}` makes it where the cluster's CA is",
        dir.display()
    );
    let ca_hint = "it comes from the directory in which `callring pki init` was run";
    let ca = Certificate::read(dir.join(CA_PEM), ca_hint)?;
    let own = Certificate::read(dir.join(format!("{name}.pem")), &hint)?;
    let key_path = dir.join(format!("{name}.key"));
    let key_pem = read_secret(&key_path, &hint)?;
    let secrets_path = dir.join(CLUSTER_KEY);
    let secrets = ClusterSecrets::from_toml(&read_secret(&secrets_path, ca_hint)?)
        .map_err(|text| PkiError::new(&secrets_path, text))?;

    let mut warnings = Vec::new();
    ca.check_validity(now, &mut warnings)?;
    own.check_validity(now, &mut warnings)?;
    own.check_name(name)?;
    own.check_issuer(&ca)?;
    own.check_usage()?;
    own.check_key(&key_path, &key_pem)?;
    Ok(Identity {
        name: name.into(),
        pki: Pki {
            cluster_id: secrets.id_hex(),
            ca_pem: ca.pem.into_bytes(),
            cert_pem: own.pem.into_bytes(),
            key_pem: key_pem.into_bytes(),
        },
        secrets,
        warnings,
    })
}

/// A certificate and its file.
struct Certificate {
    path: PathBuf,
    pem: String,
    der: Vec<u8>,
}

impl Certificate {
    fn read(path: PathBuf, hint: &str) -> Result<Self, PkiError> {
        let pem = read(&path, hint)?;
        let der = match x509_parser::pem::parse_x509_pem(pem.as_bytes()) {
            Ok((_, block)) if block.label == "CERTIFICATE" => block.contents,
            _ => return Err(PkiError::new(&path, "is no certificate in PEM")),
        };
        let this = Self { path, pem, der };
        this.parsed()?;
        Ok(this)
    }

    fn parsed(&self) -> Result<X509Certificate<'_>, PkiError> {
        match X509Certificate::from_der(&self.der) {
            Ok((_, certificate)) => Ok(certificate),
            Err(error) => Err(self.error(format!("is no X.509 certificate: {error}"))),
        }
    }

    fn error(&self, text: impl Into<String>) -> PkiError {
        PkiError::new(&self.path, text)
    }

    fn check_validity(&self, now: SystemTime, warnings: &mut Vec<String>) -> Result<(), PkiError> {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_s = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
        let parsed = self.parsed()?;
        let validity = parsed.validity();
        if validity.not_before.timestamp() > now_s {
            let text = format!(
                "is not valid before {}: is the clock right?",
                validity.not_before
            );
            return Err(self.error(text));
        }
        let left_s = validity.not_after.timestamp().saturating_sub(now_s);
        if left_s < 0 {
            return Err(self.error(format!(
                "expired at {}; issue a new one",
                validity.not_after
            )));
        }
        if left_s < WARN_DAYS * DAY_S {
            let path = self.path.display();
            let days = left_s / DAY_S;
            warnings.push(format!("{path}: expires in {days} days; issue a new one"));
        }
        Ok(())
    }

    fn check_name(&self, name: &str) -> Result<(), PkiError> {
        let parsed = self.parsed()?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let first = names.and_then(|names| {
            names
                .value
                .general_names
                .iter()
                .find_map(|name| match name {
                    GeneralName::DNSName(name) => Some(*name),
                    _ => None,
                })
        });
        match first {
            Some(first) if first == name => Ok(()),
            Some(first) => Err(self.error(format!(
                "is the certificate of node \"{}\" (its first DNS name), not of \"{name}\"",
                first.escape_debug()
            ))),
            None => Err(self.error(format!("has no DNS name; \"{name}\" is expected"))),
        }
    }

    fn check_issuer(&self, ca: &Self) -> Result<(), PkiError> {
        let authority = ca.parsed()?;
        if !authority.is_ca() {
            return Err(ca.error("is not the certificate of a CA"));
        }
        self.parsed()?
            .verify_signature(Some(authority.public_key()))
            .map_err(|_| self.error(format!("is not signed by {}", ca.path.display())))
    }

    fn check_usage(&self) -> Result<(), PkiError> {
        let parsed = self.parsed()?;
        match parsed.extended_key_usage() {
            Ok(None) => Ok(()),
            Ok(Some(usage))
                if usage.value.any || (usage.value.server_auth && usage.value.client_auth) =>
            {
                Ok(())
            }
            _ => Err(self.error(
                "must be allowed for both server and client authentication: members do both",
            )),
        }
    }

    fn check_key(&self, path: &Path, pem: &str) -> Result<(), PkiError> {
        let key = KeyPair::from_pem(pem)
            .map_err(|_| PkiError::new(path, "is no private key in PEM (PKCS#8)"))?;
        let parsed = self.parsed()?;
        if parsed.public_key().subject_public_key.data.as_ref() == key.der_bytes() {
            Ok(())
        } else {
            let text = format!("does not belong to {}", self.path.display());
            Err(PkiError::new(path, text))
        }
    }
}
