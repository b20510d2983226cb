//! The directory of certificates as a user meets it: made, read back, and refused when damaged.

use std::fs;
use std::time::{Duration, SystemTime};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// A directory of its own, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Self {
        let name = format!("callring-pki-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn with_cluster(test: &str) -> Self {
        let dir = Self::new(test);
        init(&dir.0, "lab", SystemTime::now()).unwrap();
        dir.issue("sip-1", &[]).unwrap();
        dir
    }

    fn issue(&self, name: &str, sans: &[&str]) -> Result<(), PkiError> {
        let sans: Vec<String> = sans.iter().map(ToString::to_string).collect();
        issue(&self.0, name, &sans, SystemTime::now())
    }

    fn load(&self, name: &str) -> Result<Identity, PkiError> {
        load(&self.0, name, SystemTime::now())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    fn chmod(&self, file: &str, mode: u32) {
        fs::set_permissions(self.path(file), fs::Permissions::from_mode(mode)).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Every file is its owner's alone, and nothing is ever overwritten.
#[test]
fn files_are_private_and_kept() {
    let dir = Dir::with_cluster("modes");
    assert_eq!(
        dir.0.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    let mut files: Vec<String> = Vec::new();
    for entry in fs::read_dir(&dir.0).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        files.push(entry.file_name().into_string().unwrap());
    }
    files.sort();
    assert_eq!(
        files,
        ["ca.key", "ca.pem", "cluster.key", "sip-1.key", "sip-1.pem"]
    );

    let before = fs::read(dir.path(CA_KEY)).unwrap();
    let error = init(&dir.0, "lab", SystemTime::now()).unwrap_err();
    assert_eq!(error.text, "exists; it is never overwritten");
    assert_eq!(
        dir.issue("sip-1", &[]).unwrap_err().text,
        "exists; it is never overwritten"
    );
    assert_eq!(fs::read(dir.path(CA_KEY)).unwrap(), before);
}

/// A loaded identity verifies as TLS would verify it, for the node's name and each further name,
/// and the secrets come back as they were written.
#[test]
fn chain_verifies_and_secrets_come_back() {
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
    let dir = Dir::with_cluster("chain");
    dir.issue("sip-2", &["sip.example.com", "10.0.0.2", "[::1]"])
        .unwrap();
    let identity = dir.load("sip-2").unwrap();
    assert_eq!(identity.warnings, [""; 0]);
    assert_eq!(identity.pki.cluster_id, identity.secrets.id_hex());
    let ca = CertificateDer::from_pem_slice(&identity.pki.ca_pem).unwrap();
    let leaf = CertificateDer::from_pem_slice(&identity.pki.cert_pem).unwrap();
    let anchor = [webpki::anchor_from_trusted_cert(&ca).unwrap()];
    let leaf = webpki::EndEntityCert::try_from(&leaf).unwrap();
    for usage in [
        webpki::KeyUsage::server_auth(),
        webpki::KeyUsage::client_auth(),
    ] {
        leaf.verify_for_usage(
            &[webpki::ring::ECDSA_P256_SHA256],
            &anchor,
            &[],
            UnixTime::now(),
            usage,
            None,
            None,
        )
        .unwrap();
    }
    for name in ["sip-2", "sip.example.com", "10.0.0.2", "::1"] {
        let name = ServerName::try_from(name).unwrap();
        leaf.verify_is_valid_for_subject_name(&name).unwrap();
    }
    assert_eq!(leaf.valid_dns_names().next(), Some("sip-2"));

    let text = identity.secrets.to_toml();
    assert!(ClusterSecrets::from_toml(&text).unwrap() == identity.secrets);
    assert_eq!(fs::read_to_string(dir.path(CLUSTER_KEY)).unwrap(), text);
    assert!(dir.load("sip-1").unwrap().secrets == identity.secrets);
    let keys = identity.secrets.seal_keys().unwrap();
    assert_eq!((keys.current.id, keys.previous), (1, None));
    assert_eq!(keys.position_secret, identity.secrets.position.into_array());
    let shown = format!("{:?}", identity.secrets);
    assert_eq!(shown, "ClusterSecrets { cluster: \"lab\", .. }");
}

/// Each way a directory can be wrong: the file that is named, and the words.
#[test]
fn damage_is_refused_by_name() {
    type Damage = fn(&Dir);
    let cases: [(&str, Damage, &str, &str); 11] = [
        (
            "a",
            |dir| fs::remove_file(dir.path("sip-1.pem")).unwrap(),
            "sip-1.pem",
            "is missing; `callring pki issue",
        ),
        (
            "b",
            |dir| fs::remove_file(dir.path(CLUSTER_KEY)).unwrap(),
            CLUSTER_KEY,
            "is missing; it comes from",
        ),
        (
            "c",
            |dir| dir.chmod("sip-1.key", 0o640),
            "sip-1.key",
            "is a secret that others can read (mode 0640); chmod 600",
        ),
        (
            "d",
            |dir| dir.chmod(CLUSTER_KEY, 0o604),
            CLUSTER_KEY,
            "is a secret that others can read (mode 0604)",
        ),
        (
            "e",
            |dir| fs::write(dir.path("sip-1.pem"), "x").unwrap(),
            "sip-1.pem",
            "is no certificate in PEM",
        ),
        (
            "f",
            |dir| fs::write(dir.path("sip-1.key"), "x").unwrap(),
            "sip-1.key",
            "is no private key in PEM",
        ),
        (
            "g",
            |dir| {
                dir.issue("sip-2", &[]).unwrap();
                fs::rename(dir.path("sip-2.pem"), dir.path("sip-1.pem")).unwrap();
            },
            "sip-1.pem",
            "is the certificate of node \"sip-2\" (its first DNS name), not of \"sip-1\"",
        ),
        (
            "h",
            |dir| {
                dir.issue("sip-2", &[]).unwrap();
                fs::rename(dir.path("sip-2.key"), dir.path("sip-1.key")).unwrap();
            },
            "sip-1.key",
            "does not belong to",
        ),
        (
            "i",
            |dir| {
                let other = Dir::with_cluster("i-other");
                fs::copy(other.path(CA_PEM), dir.path(CA_PEM)).unwrap();
            },
            "sip-1.pem",
            "is not signed by",
        ),
        (
            "j",
            |dir| fs::write(dir.path(CLUSTER_KEY), "cluster = \"lab\"\nid = \"zz\"").unwrap(),
            CLUSTER_KEY,
            "`id` must be 32 hexadecimal digits",
        ),
        (
            "k",
            |dir| {
                let text = fs::read_to_string(dir.path(CLUSTER_KEY)).unwrap();
                fs::write(
                    dir.path(CLUSTER_KEY),
                    text.replace("current = 1", "current = 9"),
                )
                .unwrap();
            },
            CLUSTER_KEY,
            "needs one [[seal]] with the current id 9, and at most one other",
        ),
    ];
    for (case, damage, file, text) in cases {
        let dir = Dir::with_cluster(case);
        damage(&dir);
        let error = dir.load("sip-1").unwrap_err();
        assert_eq!(error.path.file_name().unwrap(), file, "{case}: {error}");
        assert!(error.text.starts_with(text), "{case}: {error}");
    }
}

/// The last month of a certificate warns, after it nothing starts, and before it neither.
#[test]
fn dates_are_looked_at() {
    let dir = Dir::with_cluster("dates");
    let at = |days: i64| {
        let shift = DAY * u32::try_from(days.unsigned_abs()).unwrap();
        // Half a day off the edges: the test may run on either side of a second.
        let noon = SystemTime::now() + DAY / 2;
        let now = if days < 0 { noon - shift } else { noon + shift };
        load(&dir.0, "sip-1", now)
    };
    assert_eq!(at(690).unwrap().warnings, [""; 0]);
    let warnings = at(710).unwrap().warnings;
    assert!(
        warnings[0].ends_with("sip-1.pem: expires in 19 days; issue a new one"),
        "{warnings:?}"
    );
    assert!(at(731).unwrap_err().text.starts_with("expired at "));
    assert!(at(-1).unwrap_err().text.starts_with("is not valid before "));
}

/// Names that would be a path, another file, or no name at all.
#[test]
fn names_are_checked() {
    let dir = Dir::with_cluster("names");
    for name in ["", "a.b", "../x", "Sip-1", "-a", "ca", "cluster"] {
        assert!(
            dir.issue(name, &[])
                .unwrap_err()
                .text
                .contains("is no node name"),
            "{name}"
        );
    }
    assert!(
        dir.issue("x", &["a b"])
            .unwrap_err()
            .text
            .contains("neither a host name")
    );
    let open = Dir::new("open");
    fs::create_dir(&open.0).unwrap();
    fs::set_permissions(&open.0, fs::Permissions::from_mode(0o755)).unwrap();
    let error = init(&open.0, "lab", SystemTime::now()).unwrap_err();
    assert!(
        error.text.starts_with("is open to others; chmod 700"),
        "{error}"
    );
    assert!(init(&dir.path("sub"), "a b", SystemTime::now()).is_err());
}

/// Two seal keys while one replaces the other; three, or two of one number, are refused.
#[test]
fn seal_keys_rotate() {
    let secrets = ClusterSecrets::draw("lab").unwrap();
    let key = "ab".repeat(32);
    let with = |extra: &[u8]| {
        let more = extra
            .iter()
            .map(|id| format!("[[seal]]\nid = {id}\nkey = \"{key}\"\n"));
        let text = secrets.to_toml() + &more.collect::<String>();
        ClusterSecrets::from_toml(&text).map(|secrets| {
            let keys = secrets.seal_keys().unwrap();
            (keys.current.id, keys.previous.map(|key| key.id))
        })
    };
    assert_eq!(with(&[]), Ok((1, None)));
    assert_eq!(with(&[2]), Ok((1, Some(2))));
    for bad in [&[1][..], &[2, 3], &[16]] {
        assert!(with(bad).is_err(), "{bad:?}");
    }
}
