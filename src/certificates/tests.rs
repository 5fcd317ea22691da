//! Tests with generated certificates: matching keys, the choice by host name, and the text of a
//! subject.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::SignatureScheme;

use super::*;

/// A certificate and its key in PEM form.
#[derive(Clone, Debug)]
struct TestPair {
    certificate: String,
    key: String,
}

/// Makes a self-signed certificate for `names` that is valid until the end of `year`.
fn self_signed(names: &[&str], year: i32) -> TestPair {
    let key = KeyPair::generate().unwrap();
    let mut params = params(names);
    params.not_after = date_time_ymd(year, 12, 31);
    TestPair {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// Makes a chain of a certificate for `names` and its authority.
fn chain(names: &[&str]) -> (TestPair, String) {
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut authority = params(&["an authority"]);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let pair = TestPair {
        certificate: params(names).signed_by(&key, &issuer).unwrap().pem(),
        key: key.serialize_pem(),
    };
    (pair, authority_pem)
}

/// Makes a certificate with this subject; returns its DER form.
fn with_subject(parts: &[(DnType, &str)]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in parts {
        params.distinguished_name.push(kind.clone(), *value);
    }
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names
        .iter()
        .map(|name| SanType::DnsName((*name).try_into().unwrap()))
        .collect();
    params
}

const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];

fn pair(names: &[&str]) -> ServerCertificate {
    let pair = self_signed(names, 2999);
    ServerCertificate::from_pem(&pair.certificate, &pair.key).unwrap()
}

#[test]
fn a_pair_knows_its_names_and_the_end_of_its_validity() {
    let pem = self_signed(&["Maps.Example.org", "*.tiles.example.org"], 2030);
    let pair = ServerCertificate::from_pem(&pem.certificate, &pem.key).unwrap();
    assert_eq!(pair.name(), "maps.example.org");
    assert_eq!(pair.not_after(), 1_924_905_600);
}

#[test]
fn a_key_may_stand_in_the_file_of_its_certificate() {
    let pem = self_signed(&["a.example"], 2030);
    let both = format!("{}{}", pem.key, pem.certificate);
    assert!(ServerCertificate::from_pem(&both, &both).is_ok());
}

#[test]
fn each_mistake_with_a_pair_has_its_own_fault() {
    let (ours, other) = (
        self_signed(&["a.example"], 2030),
        self_signed(&["b.example"], 2030),
    );
    let fault = |chain: &str, key: &str| ServerCertificate::from_pem(chain, key).unwrap_err();
    assert_eq!(
        fault(&ours.certificate, &other.key),
        CertificateFault::KeyMismatch
    );
    assert_eq!(fault("", &ours.key), CertificateFault::NoCertificate);
    assert_eq!(fault(&ours.key, &ours.key), CertificateFault::NoCertificate);
    assert_eq!(
        fault(&ours.certificate, &ours.certificate),
        CertificateFault::NoKey
    );
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert_eq!(
        fault(&ours.certificate, encrypted),
        CertificateFault::KeyEncrypted
    );
    let cut = &ours.certificate[..ours.certificate.len() / 2];
    assert_eq!(
        fault(cut, &ours.key).to_string(),
        "it cannot be understood: it breaks off within a section"
    );
}

#[test]
fn a_chain_in_the_wrong_order_is_named_as_such() {
    let (leaf, authority) = chain(&["a.example"]);
    let right = format!("{}{authority}", leaf.certificate);
    let wrong = format!("{authority}{}", leaf.certificate);
    assert!(ServerCertificate::from_pem(&right, &leaf.key).is_ok());
    assert_eq!(
        ServerCertificate::from_pem(&wrong, &leaf.key).unwrap_err(),
        CertificateFault::WrongOrder
    );
}

#[test]
fn an_exact_name_comes_before_a_wildcard_and_a_wildcard_before_the_first() {
    let list = [
        pair(&["first.example"]),
        pair(&["*.example.org"]),
        pair(&["maps.example.org", "a.b.example.org"]),
    ];
    let chosen = |host: Option<&str>| {
        let key = choose(&list, host, ECDSA).unwrap();
        list.iter()
            .position(|pair| Arc::ptr_eq(&pair.certified, key))
            .unwrap()
    };
    assert_eq!(chosen(Some("maps.example.org")), 2);
    assert_eq!(chosen(Some("MAPS.example.ORG")), 2);
    assert_eq!(chosen(Some("tiles.example.org")), 1);
    assert_eq!(
        chosen(Some("x.b.example.org")),
        0,
        "a wildcard is one label"
    );
    assert_eq!(
        chosen(Some("example.org")),
        0,
        "a wildcard is not its parent"
    );
    assert_eq!(chosen(Some("elsewhere")), 0);
    assert_eq!(chosen(None), 0);
}

#[test]
fn a_certificate_that_the_client_cannot_check_is_not_chosen() {
    let list = [pair(&["a.example"])];
    assert!(choose(&list, Some("a.example"), &[SignatureScheme::RSA_PSS_SHA256]).is_none());
    assert!(choose(&[], None, ECDSA).is_none());
}

#[test]
fn authorities_need_a_certificate() {
    let (_, authority) = chain(&["a.example"]);
    assert!(Authorities::from_pem(&authority).is_ok());
    assert!(matches!(
        Authorities::from_pem("nothing"),
        Err(CertificateFault::NoCertificate)
    ));
}

#[test]
fn a_subject_begins_with_its_most_specific_part() {
    let der = with_subject(&[
        (DnType::CountryName, "FR"),
        (DnType::OrganizationName, "geOrchestra"),
        (DnType::CommonName, "ann"),
    ]);
    assert_eq!(
        subject_of(&der).as_deref(),
        Some("CN=ann,O=geOrchestra,C=FR")
    );
}

#[test]
fn no_subject_can_imitate_another_or_break_out_of_its_header() {
    let der = with_subject(&[(DnType::CommonName, "ann,O=admin+x=\"y\\\r\nZo\u{eb} ")]);
    assert_eq!(
        subject_of(&der).as_deref(),
        Some("CN=ann\\,O\\=admin\\+x\\=\\\"y\\\\\\0D\\0AZo\\C3\\AB\\ ")
    );
    let long = "x".repeat(3_000);
    assert_eq!(
        subject_of(&with_subject(&[(DnType::CommonName, &long)])),
        None
    );
    assert_eq!(subject_of(&with_subject(&[])), None);
    assert_eq!(subject_of(b"no certificate"), None);
}
