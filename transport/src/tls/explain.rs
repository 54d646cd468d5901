//! What went wrong with TLS, in words that say what to do.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

/// What the other side says whom this side's certificate does not suit.
const ALERTS: [AlertDescription; 5] = [
    AlertDescription::CertificateRequired,
    AlertDescription::UnknownCA,
    AlertDescription::DecryptError,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateExpired,
];

/// What TLS has to do with `error`, if it has.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = tls_error(error) {
            return Some(words(found));
        }
        // HTTP/2 keeps of an error of the connection only what it says.
        let text = error.to_string();
        let says = |alert: &AlertDescription| {
            text.contains(&rustls::Error::AlertReceived(*alert).to_string())
        };
        if let Some(alert) = ALERTS.into_iter().find(says) {
            return Some(words(&rustls::Error::AlertReceived(alert)));
        }
        next = error.source();
    }
    None
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref::<rustls::Error>() {
        return Some(found);
    }
    // What an I/O error is made of is not among its sources.
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    tls_error(inner)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library may have more of them")]
fn words(error: &rustls::Error) -> String {
    let what_to_do = match error {
        rustls::Error::InvalidMessage(_) => "the other side does not speak TLS on this port",
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the other side asks for a certificate; give one with its key"
        }
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::BadCertificate,
        ) => "the other side does not trust whoever issued this side's certificate",
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "this side's certificate has expired"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "the other side's certificate is not from whom this side trusts",
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the other side's certificate is not for the name or address it was called by",
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the other side's certificate has expired",
        _ => return error.to_string(),
    };
    format!("{what_to_do} ({error})")
}
