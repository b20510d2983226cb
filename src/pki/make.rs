//! Makes a cluster's CA and secrets, and issues its members' certificates. ECDSA P-256 throughout:
//! small handshakes, and every TLS library takes it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

use super::{
    CA_KEY, CA_PEM, CLUSTER_KEY, ClusterSecrets, PkiError, private_dir, read, read_secret,
    write_new,
};
use crate::config::{is_dns_label, is_host};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The CA outlives several generations of machines.
const CA_DAYS: u32 = 3_652;
/// Certificates are renewed by issuing anew; `node` warns in time.
const NODE_DAYS: u32 = 730;
/// Clocks of nodes differ: certificates are valid from a little before they are made.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// Makes a CA and the cluster's secrets in `dir`.
///
/// # Errors
/// If a file exists already, or the directory is open to others.
pub fn init(dir: &Path, cluster: &str, now: SystemTime) -> Result<(), PkiError> {
    if !is_dns_label(cluster) {
        let text = format!(
            "\"{}\" is no cluster name: letters, digits and inner hyphens, at most 63",
            cluster.escape_debug()
        );
        return Err(PkiError::new(dir, text));
    }
    private_dir(dir)?;
    for name in [CA_PEM, CA_KEY, CLUSTER_KEY] {
        let path = dir.join(name);
        if path.exists() {
            return Err(PkiError::new(&path, "exists; it is never overwritten"));
        }
    }
    let secrets = ClusterSecrets::draw(cluster).map_err(|text| PkiError::new(dir, text))?;
    let key = new_key(dir)?;
    let mut params = valid_for(CertificateParams::default(), now, CA_DAYS);
    params
        .distinguished_name
        .push(DnType::CommonName, format!("callring CA of {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params
        .self_signed(&key)
        .map_err(|error| PkiError::new(dir, error.to_string()))?;
    write_new(&dir.join(CA_KEY), &key.serialize_pem())?;
    write_new(&dir.join(CLUSTER_KEY), &secrets.to_toml())?;
    write_new(&dir.join(CA_PEM), &certificate.pem())
}

/// Issues a certificate for the node `name`, with `sans` as further names, signed by the CA in
/// `dir`. The node's name comes first: it is the node's identity.
///
/// # Errors
/// If the node has a certificate already, a name is none, or the CA can't be read.
pub fn issue(dir: &Path, name: &str, sans: &[String], now: SystemTime) -> Result<(), PkiError> {
    let reserved = [CA_PEM, CLUSTER_KEY].map(|file| file.split('.').next());
    let lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    if !is_dns_label(name) || !lower || reserved.contains(&Some(name)) {
        let text = format!(
            "\"{}\" is no node name: lower-case letters, digits and inner hyphens, at most 63; \
             neither \"ca\" nor \"cluster\"",
            name.escape_debug()
        );
        return Err(PkiError::new(dir, text));
    }
    if let Some(bad) = sans.iter().find(|san| !is_san(san)) {
        let text = format!(
            "\"{}\" is neither a host name nor an IP address",
            bad.escape_debug()
        );
        return Err(PkiError::new(dir, text));
    }
    let (ca_path, ca_key_path) = (dir.join(CA_PEM), dir.join(CA_KEY));
    let hint = "`callring pki init` makes it";
    let ca_pem = read(&ca_path, hint)?;
    let ca_key = KeyPair::from_pem(&read_secret(&ca_key_path, hint)?)
        .map_err(|error| PkiError::new(&ca_key_path, format!("is no private key: {error}")))?;
    let issuer = Issuer::from_ca_cert_pem(&ca_pem, ca_key)
        .map_err(|error| PkiError::new(&ca_path, format!("is no CA certificate: {error}")))?;

    let names: Vec<String> = std::iter::once(name.to_owned())
        .chain(sans.iter().map(|san| bare(san).to_owned()))
        .collect();
    let failed = |error: rcgen::Error| PkiError::new(dir, error.to_string());
    let params = CertificateParams::new(names).map_err(failed)?;
    let mut params = valid_for(params, now, NODE_DAYS);
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = new_key(dir)?;
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
    // The certificate last: while it is missing, a half-made pair is no identity.
    write_new(&dir.join(format!("{name}.key")), &key.serialize_pem())?;
    write_new(&dir.join(format!("{name}.pem")), &certificate.pem())
}

fn valid_for(mut params: CertificateParams, now: SystemTime, days: u32) -> CertificateParams {
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + DAY * days).into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

fn new_key(dir: &Path) -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|error| PkiError::new(dir, format!("no key can be made: {error}")))
}

fn is_san(san: &str) -> bool {
    is_host(san) || san.parse::<std::net::IpAddr>().is_ok()
}

fn bare(san: &str) -> &str {
    san.strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(san)
}
