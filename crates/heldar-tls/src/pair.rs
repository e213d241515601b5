//! A certificate chain and its private key, from PEM to what a handshake needs.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use sha2::{Digest as _, Sha256};

use crate::facts::{Facts, NotX509};

/// Far more than any chain or key; what is larger was given by mistake.
const LONGEST: u64 = 1 << 20;

/// A pair that loads.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) facts: Facts,
    /// Tells whether other bytes are other.
    pub(crate) mark: Mark,
}

/// The bytes of a pair in short.
pub(crate) type Mark = [u8; 32];

/// A pair that does not load.
#[derive(Debug, thiserror::Error)]
#[error("{part}: {}: {why}", .path.display())]
pub struct PairError {
    /// The variable that names the file, or what the file is.
    pub part: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: Why,
}

impl PairError {
    /// The same for those who need not know where this machine keeps its files.
    pub fn without_path(&self) -> String {
        format!("{}: {}", self.part, self.why)
    }
}

/// What is wrong with one of the two files.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(io::Error),
    /// It is far larger than any such file.
    #[error("is larger than 1 MiB; a PEM file is meant")]
    TooLarge,
    /// There is no certificate in it.
    #[error("holds no certificate (PEM: -----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// A certificate in it is cut off or garbled.
    #[error("holds a certificate that is cut off or garbled")]
    BadPem,
    /// The first one is no certificate.
    #[error(transparent)]
    NotX509(#[from] NotX509),
    /// There is no key in it.
    #[error("holds no private key (PEM: -----BEGIN PRIVATE KEY-----)")]
    NoKey,
    /// The key needs a passphrase.
    #[error("holds a key that is encrypted: give it without a passphrase, readable by this user only")]
    EncryptedKey,
    /// The key is of a kind that is not supported.
    #[error("holds a key that cannot be used: RSA of 2048 bits or more, ECDSA and Ed25519 can")]
    UnusableKey,
    /// The key belongs to another certificate.
    #[error("holds the key of another certificate")]
    WrongKey,
}

/// One of the two files, and what it is called in messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) name: &'static str,
    pub(crate) path: &'a Path,
}

impl Part<'_> {
    pub(crate) fn wrong(self, why: impl Into<Why>) -> PairError {
        PairError { part: self.name, path: self.path.to_owned(), why: why.into() }
    }

    pub(crate) fn read(self) -> Result<Vec<u8>, PairError> {
        let mut bytes = Vec::new();
        let read = File::open(self.path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
        read.map_err(|error| self.wrong(Why::Unreadable(error)))?;
        if bytes.len() as u64 > LONGEST { Err(self.wrong(Why::TooLarge)) } else { Ok(bytes) }
    }
}

/// Which bytes these are.
pub(crate) fn mark(chain: &[u8], key: &[u8]) -> Mark {
    Sha256::new()
        .chain_update((chain.len() as u64).to_be_bytes())
        .chain_update(chain)
        .chain_update(key)
        .finalize()
        .into()
}

/// Makes a pair of what two files hold, or one file that has both.
pub(crate) fn load(
    (chain_part, chain_bytes): (Part<'_>, &[u8]),
    (key_part, key_bytes): (Part<'_>, &[u8]),
    provider: &CryptoProvider,
) -> Result<Pair, PairError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| chain_part.wrong(Why::BadPem))?;
    let leaf = chain.first().ok_or_else(|| chain_part.wrong(Why::NoCertificate))?;
    let facts = Facts::of(leaf).map_err(|error| chain_part.wrong(error))?;
    // The reader's own words may quote the file, so they are not passed on.
    let key = PrivateKeyDer::from_pem_slice(key_bytes).map_err(|_| key_part.wrong(without_key(key_bytes)))?;
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => key_part.wrong(Why::WrongKey),
        Error::InvalidCertificate(_) => chain_part.wrong(NotX509),
        _ => key_part.wrong(Why::UnusableKey),
    })?;
    Ok(Pair { certified: Arc::new(certified), facts, mark: mark(chain_bytes, key_bytes) })
}

fn without_key(bytes: &[u8]) -> Why {
    let encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    if encrypted.into_iter().any(holds) { Why::EncryptedKey } else { Why::NoKey }
}
