//! Which clients' certificates are accepted.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, DnsName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, ServerConnection,
    SignatureScheme,
};
use webpki::EndEntityCert;

use super::identity::{provider, Authorities, TlsError, TlsIdentity};

/// Whether a certificate can have this DNS name. An address is none.
fn is_name(name: &str) -> bool {
    DnsName::try_from(name).is_ok() && !name.ends_with('.')
}

/// Makes the server's side of TLS connections.
pub struct Acceptor {
    identity: TlsIdentity,
    issued: Arc<dyn ClientCertVerifier>,
    names: Arc<[String]>,
}

impl Acceptor {
    /// Accepts clients with a certificate of these authorities that has one of these DNS names, exactly,
    /// among its subject alternative names. Without names, any certificate of theirs.
    ///
    /// # Errors
    /// Where the library refuses the authorities, and for a name that no certificate can have.
    pub fn new(identity: TlsIdentity, clients: &Authorities, names: &[String]) -> Result<Acceptor, TlsError> {
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            return Err(TlsError::Name(name.clone()));
        }
        let issued = WebPkiClientVerifier::builder_with_provider(clients.0.clone(), provider()).build();
        Ok(Acceptor {
            identity,
            issued: issued.map_err(TlsError::setup)?,
            names: names.into(),
        })
    }

    /// The server's side of a connection, and the names of the client's certificate as soon as they are
    /// known.
    pub(super) fn connection(&self) -> Result<(ServerConnection, Names), Error> {
        let names = Names::default();
        let verifier = Verifier {
            issued: self.issued.clone(),
            allowed: self.names.clone(),
            names: names.clone(),
        };
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(verifier));
        let mut config = config.with_cert_resolver(self.identity.0.clone());
        // A session that is resumed would not look at the certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok((ServerConnection::new(Arc::new(config))?, names))
    }
}

/// The DNS names of the client's certificate, once it has proved to be of an authority.
pub type Names = Arc<OnceLock<Vec<String>>>;

/// Verifies the certificate of one connection, and keeps its names, for the log and for the share of places.
#[derive(Debug)]
struct Verifier {
    issued: Arc<dyn ClientCertVerifier>,
    allowed: Arc<[String]>,
    names: Names,
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.issued.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.issued.verify_client_cert(end_entity, intermediates, now)?;
        let parsed = EndEntityCert::try_from(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let own: Vec<String> = parsed.valid_dns_names().map(str::to_owned).collect();
        // A wildcard in a certificate stands for no name here.
        let is_allowed = self.allowed.is_empty()
            || own
                .iter()
                .any(|own| self.allowed.iter().any(|name| name.eq_ignore_ascii_case(own)));
        // One certificate is verified for a connection.
        let _ = self.names.set(own);
        match is_allowed {
            true => Ok(verified),
            // The client gets the alert access_denied.
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issued.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_certificate_can_have_is_no_name() {
        for name in ["desk", "desk.example", "a-1.example"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "192.0.2.7", "desk.", "desk,lab", "desk lab", "2001:db8::1"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
