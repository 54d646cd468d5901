//! What flags give: a path, or what is written there, or the same said by the flag itself.

use anyhow::Context;
use model::link::FaultDomain;
use proto::convert::link::fault_domain_from_wire;
use proto::mesos::v1::DomainInfo;
use std::path::PathBuf;

/// Reads a path, which may be a `file://` URL.
pub(crate) fn path(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("file://").unwrap_or(text) {
        "" => Err("no path is given".to_owned()),
        path => Ok(path.into()),
    }
}

/// What a flag says itself in JSON, or what is in the file that it names.
pub(crate) fn text(given: &str) -> anyhow::Result<String> {
    if given.trim_start().starts_with('{') {
        return Ok(given.to_owned());
    }
    let path = path(given).map_err(anyhow::Error::msg)?;
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads where a machine stands: `region/zone`, or `DomainInfo` in JSON, or a file with either.
pub(crate) fn domain(given: &str) -> Result<FaultDomain, String> {
    let is_file = given.starts_with('/') || given.starts_with("file://");
    let text =
        if is_file { text(given).map_err(|why| format!("{why:#}"))? } else { given.to_owned() };
    let text = text.trim();
    if !text.starts_with('{') {
        return FaultDomain::parse(text);
    }
    let info: DomainInfo = proto::json::from_slice(text.as_bytes())
        .map_err(|why| format!("it is no DomainInfo in JSON: {why}"))?;
    let domain = fault_domain_from_wire(&info).ok_or("'fault_domain' is missing in the JSON")?;
    if domain.region.is_empty() || domain.zone.is_empty() {
        return Err("the names of region and zone must not be empty".to_owned());
    }
    Ok(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str =
        r#"{"fault_domain": {"region": {"name": "north"}, "zone": {"name": "a/1"}}}"#;

    #[test]
    fn a_domain_is_read_in_every_form() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str, content: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).expect("written");
            path.display().to_string()
        };
        let of =
            |region: &str, zone: &str| Ok(FaultDomain { region: region.into(), zone: zone.into() });
        assert_eq!(domain("north/a"), of("north", "a"));
        assert_eq!(domain(JSON), of("north", "a/1"), "which only JSON can say");
        let (short, long) = (file("short", "north/a\n"), file("long", JSON));
        assert_eq!(domain(&short), of("north", "a"));
        for path in [long.clone(), format!("file://{long}")] {
            assert_eq!(domain(&path), of("north", "a/1"), "{path}");
        }
    }

    #[test]
    fn what_is_no_domain_is_told_why() {
        let whole = |region: &str| JSON.replace("north", region);
        for (given, why) in [
            ("north".to_owned(), "is not region/zone"),
            ("file:///no/such/file".to_owned(), "cannot read /no/such/file"),
            ("{".to_owned(), "it is no DomainInfo in JSON"),
            (r#"{"fault_domain": {"region": {"name": "x"}}}"#.to_owned(), "it is no DomainInfo"),
            ("{}".to_owned(), "'fault_domain' is missing"),
            (whole(""), "must not be empty"),
        ] {
            let refused = domain(&given).expect_err(&given);
            assert!(refused.contains(why), "{given}: {refused}");
        }
    }

    #[test]
    fn a_path_may_be_a_url_of_a_file() {
        assert_eq!(path("file:///etc/names"), Ok("/etc/names".into()));
        assert_eq!(path("names"), Ok("names".into()));
        assert!(path("file://").is_err());
    }
}
