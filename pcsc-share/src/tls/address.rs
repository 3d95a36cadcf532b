//! Addresses of the form HOST:PORT.

use super::identity::TlsError;

/// Whether an address is of the form `HOST:PORT`.
///
/// # Errors
/// [`TlsError::Address`] for one of another form.
pub fn check_address(address: &str) -> Result<(), TlsError> {
    host(address).map(|_| ())
}

/// The host in `HOST:PORT`. An IPv6 address there has brackets.
pub(super) fn host(address: &str) -> Result<&str, TlsError> {
    let parts = address.rsplit_once(':');
    let parts = parts.filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    let (host, _) = parts.ok_or_else(|| TlsError::Address(address.to_owned()))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    Ok(bare.unwrap_or(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for (address, expected) in [
            ("desk.example:7340", Some("desk.example")),
            ("0.0.0.0:0", Some("0.0.0.0")),
            ("[::1]:7340", Some("::1")),
            ("127.0.0.1", None),
            ("desk:", None),
            (":7340", None),
            ("desk:no", None),
            ("desk:65536", None),
            ("", None),
        ] {
            assert_eq!(host(address).ok(), expected, "{address}");
            assert_eq!(check_address(address).is_ok(), expected.is_some(), "{address}");
        }
    }
}
