//! Whose a certificate is.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// Bytes of a name. Longer ones are no names, and lists and logs show them.
const NAME_BYTES_MAX: usize = 256;

/// The attribute "common name" (2.5.4.3).
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

// Tags of the encoding (DER).
const OBJECT_ID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// The name in a certificate: the first URI it is for, or else the first DNS name, or else its common
/// name. Absent where there is none of them, or none that can be shown.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let uri = certificate.valid_uri_names().next();
    let alternative = uri.or_else(|| certificate.valid_dns_names().next());
    let name = alternative.or_else(|| common_name(certificate.subject()))?;
    let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    (is_name && !name.chars().any(|it| it.is_control() || it.is_whitespace())).then(|| name.into())
}

/// The common name in a subject, the last of several: it is the most specific one.
fn common_name(subject: &[u8]) -> Option<&str> {
    let mut found = None;
    for set in Reader(subject).filter_map(|(tag, set)| (tag == SET).then_some(set)) {
        for (tag, attribute) in Reader(set) {
            let mut parts = Reader(attribute);
            let (Some(kind), Some((text, value)), SEQUENCE) = (parts.next(), parts.next(), tag)
            else {
                continue;
            };
            if kind == (OBJECT_ID, &COMMON_NAME[..]) && [UTF8, PRINTABLE, IA5].contains(&text) {
                found = std::str::from_utf8(value).ok();
            }
        }
    }
    found
}

/// Reads one value after the other; ends at what is malformed.
struct Reader<'a>(&'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (size, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // Names are far below what needs more than two bytes for its size.
            let (size, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let size = match *size {
                [low] => usize::from(low),
                [high, low] => usize::from(u16::from_be_bytes([high, low])),
                _ => return None,
            };
            (size, rest)
        };
        let (value, rest) = rest.split_at_checked(size)?;
        self.0 = rest;
        Some((tag, value))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    use super::*;

    fn named(common: &[&str], alternatives: Vec<SanType>) -> Option<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "o");
        for name in common {
            let name = DnValue::Utf8String((*name).to_owned());
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names = alternatives;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        of(certificate.der()).as_deref().map(ToOwned::to_owned)
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().expect("ASCII"))
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().expect("ASCII"))
    }

    #[test]
    fn a_uri_comes_before_a_dns_name_and_that_before_the_common_name() {
        let ip = SanType::IpAddress([10, 0, 0, 1].into());
        let all = vec![ip.clone(), dns("m1.example"), uri("spiffe://example/m1"), uri("x:y")];
        assert_eq!(named(&["cn"], all).as_deref(), Some("spiffe://example/m1"));
        let some = vec![ip.clone(), dns("m1.example"), dns("m2.example")];
        assert_eq!(named(&["cn"], some).as_deref(), Some("m1.example"));
        assert_eq!(named(&["m\u{fc}nster"], vec![ip.clone()]).as_deref(), Some("m\u{fc}nster"));
        assert_eq!(named(&[], vec![ip]), None);
    }

    #[test]
    fn what_cannot_be_shown_is_no_name() {
        for bad in ["", "a\nb", "a b", "a\0"] {
            assert_eq!(named(&[bad], Vec::new()), None, "{bad:?}");
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(named(&[&long], Vec::new()), None);
        assert_eq!(named(&[&long[1..]], Vec::new()).as_deref(), Some(&long[1..]));
        // One that is there is meant: what comes after it does not stand in.
        assert_eq!(named(&["cn"], vec![uri("a b")]), None);
    }

    #[test]
    fn whatever_the_bytes_are_reading_ends() {
        let subject = [
            &[SET, 12, SEQUENCE, 10, OBJECT_ID, 3][..],
            &COMMON_NAME,
            &[PRINTABLE, 3, b'a', b'b', b'c'],
        ]
        .concat();
        assert_eq!(common_name(&subject), Some("abc"));
        for end in 0..subject.len() {
            assert_eq!(common_name(&subject[..end]), None);
        }
        for at in 0..subject.len() {
            for byte in 0..=u8::MAX {
                let mut bytes = subject.clone();
                bytes[at] = byte;
                let found = common_name(&bytes);
                assert!(found.is_none_or(|name| name.len() <= 3), "{bytes:?}");
            }
        }
    }
}
