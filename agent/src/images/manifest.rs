//! Manifests, and lists of them for several kinds of machines.

use oci_spec::image::{Arch, Descriptor, ImageIndex, ImageManifest, Os};
use serde::Deserialize;

use super::Reason;
use super::digest;

/// The most bytes of a manifest. Registries take no larger ones either.
pub(super) const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// The most bytes of an image's configuration. It has a line for each step of the image's making.
pub(super) const CONFIG_BYTES_MAX: u64 = 8 << 20;

/// The most layers of an image: as many as Docker lets one have.
pub(super) const LAYERS_MAX: usize = 127;

/// The most bytes of one layer as it is stored.
pub(super) const LAYER_BYTES_MAX: u64 = 16 << 30;

/// A manifest, or a list of them.
pub(super) enum Manifest {
    Image(Box<ImageManifest>),
    Index(Box<ImageIndex>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sketch {
    schema_version: Option<u32>,
    manifests: Option<serde_json::Value>,
}

/// Reads a manifest of either form, by what is in it: what it is called differs between makers.
pub(super) fn read(bytes: &[u8]) -> Result<Manifest, Reason> {
    let wrong = |error: String| Reason::Manifest(format!("its manifest cannot be read: {error}"));
    let sketch: Sketch = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    if sketch.schema_version == Some(1) {
        return Err(wrong(
            "it is of the first schema, which nobody makes any more; push it anew".to_owned(),
        ));
    }
    if sketch.manifests.is_some() {
        let index = ImageIndex::from_reader(bytes).map_err(|error| wrong(error.to_string()))?;
        return Ok(Manifest::Index(Box::new(index)));
    }
    let image = ImageManifest::from_reader(bytes).map_err(|error| wrong(error.to_string()))?;
    let layers = image.layers();
    if layers.len() > LAYERS_MAX {
        return Err(wrong(format!("it has {} layers, at most {LAYERS_MAX} can be", layers.len())));
    }
    for part in layers.iter().chain([image.config()]) {
        digest::parse(part.digest().as_ref())?;
        if part.size() > LAYER_BYTES_MAX {
            return Err(Reason::TooLarge { what: "a layer".to_owned(), most: LAYER_BYTES_MAX });
        }
    }
    Ok(Manifest::Image(Box::new(image)))
}

/// The entry of a list that is for this machine.
pub(super) fn for_this_machine(index: &ImageIndex) -> Result<&Descriptor, Reason> {
    choose(index.manifests(), &Arch::default())
}

fn choose<'a>(manifests: &'a [Descriptor], arch: &Arch) -> Result<&'a Descriptor, Reason> {
    let fits = |each: &&Descriptor| {
        let platform = each.platform().as_ref();
        platform.is_some_and(|it| *it.os() == Os::Linux && it.architecture() == arch)
    };
    // The plainest variant runs everywhere.
    let variant = |each: &&Descriptor| {
        each.platform().as_ref().and_then(|it| it.variant().clone()).unwrap_or_default()
    };
    if let Some(found) = manifests.iter().filter(fits).min_by_key(variant) {
        return Ok(found);
    }
    // Made by somebody who thinks of one kind of machine only.
    if let [only] = manifests
        && only.platform().is_none()
    {
        return Ok(only);
    }
    let there = manifests.iter().filter_map(|each| each.platform().as_ref());
    let there: Vec<String> = there.map(|it| format!("{}/{}", it.os(), it.architecture())).collect();
    Err(Reason::Platform { wanted: format!("linux/{arch}"), there: there.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let entries: Vec<String> = platforms
            .iter()
            .enumerate()
            .map(|(number, platform)| {
                format!(
                    r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,
                        "digest":"sha256:{number:064}"{platform}}}"#
                )
            })
            .collect();
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        match read(text.as_bytes()).expect("it is an index") {
            Manifest::Index(index) => index.manifests().clone(),
            Manifest::Image(_) => panic!("it is an index"),
        }
    }

    #[test]
    fn the_plainest_variant_for_the_machine_is_taken() {
        let all = index(&[
            r#","platform":{"os":"linux","architecture":"arm64","variant":"v8"}"#,
            r#","platform":{"os":"windows","architecture":"amd64"}"#,
            r#","platform":{"os":"linux","architecture":"amd64","variant":"v3"}"#,
            r#","platform":{"os":"linux","architecture":"amd64"}"#,
            r#","platform":{"os":"unknown","architecture":"unknown"}"#,
        ]);
        let chosen = |arch| choose(&all, &arch).map(|it| it.digest().digest().to_owned());
        assert_eq!(chosen(Arch::Amd64).ok(), Some(format!("{:064}", 3)));
        assert_eq!(chosen(Arch::ARM64).ok(), Some(format!("{:064}", 0)));
        let error = chosen(Arch::RISCV64).expect_err("there is none").to_string();
        assert!(
            error.starts_with("it is not made for linux/riscv64; there is it for linux/arm64, ")
        );
        assert!(choose(&index(&[""]), &Arch::Amd64).is_ok(), "nobody says what it is for");
        assert!(choose(&index(&["", ""]), &Arch::Amd64).is_err());
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for (text, says) in [
            ("{", "its manifest cannot be read"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, "of the first schema"),
            (r#"{"schemaVersion":2}"#, "its manifest cannot be read"),
            (
                r#"{"schemaVersion":2,"layers":[],"config":{"mediaType":"x","size":1,
                    "digest":"sha512:00"}}"#,
                "its manifest cannot be read",
            ),
        ] {
            let error = read(text.as_bytes()).err().expect(text).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
