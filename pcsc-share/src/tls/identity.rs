//! Certificates and keys, from files in PEM.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{ring, CryptoProvider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, RootCertStore};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or has not in it what it should have.
    #[error("the file {} cannot be used: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A name for `--allow-cert` is not a DNS name.
    #[error("{0:?} is not a DNS name")]
    Name(String),
    /// An address is not of the form HOST:PORT.
    #[error("{0:?} is not HOST:PORT")]
    Address(String),
    /// The library refuses the certificates.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

impl TlsError {
    fn file(path: &Path, reason: impl Display) -> TlsError {
        TlsError::File {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn setup(reason: impl Display) -> TlsError {
        TlsError::Setup(reason.to_string())
    }
}

/// The algorithms.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificate of this host and its key.
#[derive(Clone)]
pub struct TlsIdentity(pub(super) Arc<SingleCertAndKey>);

impl TlsIdentity {
    /// Reads a certificate, which those of authorities between it and the root may follow, and its key.
    ///
    /// # Errors
    /// A file that cannot be read or has none of them, and a key of another certificate.
    pub fn load(certificate: &Path, key: &Path) -> Result<TlsIdentity, TlsError> {
        let chain = certificates(certificate)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                TlsError::file(key, "there is no private key without a password in it")
            }
            error => TlsError::file(key, what(&error)),
        })?;
        let certified = CertifiedKey::from_der(chain, private, &provider());
        let certified = certified.map_err(|error| {
            let certificate = certificate.display();
            match error {
                Error::InconsistentKeys(_) => TlsError::file(
                    key,
                    format_args!("it is the key of another certificate than that in {certificate}"),
                ),
                error => TlsError::file(
                    key,
                    format_args!("with the certificate in {certificate}: {error}"),
                ),
            }
        })?;
        Ok(TlsIdentity(Arc::new(certified.into())))
    }
}

/// The authorities whose certificates are trusted.
#[derive(Clone)]
pub struct Authorities(pub(super) Arc<RootCertStore>);

impl Authorities {
    /// Reads the certificates of authorities.
    ///
    /// # Errors
    /// A file that cannot be read, or has something else in it.
    pub fn load(path: &Path) -> Result<Authorities, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| TlsError::file(path, error))?;
        }
        Ok(Authorities(Arc::new(roots)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error: pem::Error| TlsError::file(path, what(&error));
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(failed)?;
    if found.is_empty() {
        return Err(TlsError::file(path, "there is no certificate in it"));
    }
    Ok(found)
}

/// What is wrong with a file. The contents of a key's are in no error.
fn what(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        _ => "it is not a file in PEM".into(),
    }
}
