// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The manifest of a plugin's image: which layer holds the module.

use crate::OciError;
use serde::Deserialize;

/// Largest layer, in bytes.
pub(crate) const MAX_LAYER: u64 = 256 << 20;

#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

/// A layer's descriptor.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Layer {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
}

/// How a layer holds the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// It is the module.
    Raw,
    /// A tar archive has it.
    Tar,
    /// A compressed tar archive has it.
    TarGzip,
}

impl Layer {
    /// How it holds a module; `None` where it cannot.
    pub(crate) fn packing(&self) -> Option<Packing> {
        match self.media_type.as_str() {
            "application/vnd.module.wasm.content.layer.v1+wasm" | "application/wasm" => Some(Packing::Raw),
            "application/vnd.oci.image.layer.v1.tar" => Some(Packing::Tar),
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Some(Packing::TarGzip),
            _ => None,
        }
    }
}

/// The layer with the module: the one raw wasm layer, else the last archive (later layers win in an image).
pub(crate) fn plugin_layer(reference: &str, manifest: &[u8]) -> Result<(Layer, Packing), OciError> {
    let no_plugin = |reason: String| OciError::NoPlugin { reference: reference.to_owned(), reason };
    let manifest: Manifest = serde_json::from_slice(manifest)
        .map_err(|e| no_plugin(format!("its manifest cannot be read ({e})")))?;
    let fitting: Vec<_> = manifest.layers.iter().filter_map(|l| Some((l.clone(), l.packing()?))).collect();
    let raw: Vec<_> = fitting.iter().filter(|(_, packing)| *packing == Packing::Raw).collect();
    let chosen = match raw.as_slice() {
        [] => fitting.last(),
        [only] => Some(*only),
        _ => return Err(no_plugin(format!("it has {} wasm layers; push one", raw.len()))),
    };
    let (layer, packing) = chosen.cloned().ok_or_else(|| {
        let found: Vec<_> = manifest.layers.iter().map(|l| l.media_type.as_str()).collect();
        no_plugin(format!("no layer of a known type among [{}]", found.join(", ")))
    })?;
    if layer.size > MAX_LAYER {
        return Err(OciError::TooLarge { what: "the layer", limit: MAX_LAYER });
    }
    Ok((layer, packing))
}

#[cfg(test)]
mod tests {
    use super::{Packing, plugin_layer};

    fn manifest(layers: &[(&str, u64)]) -> Vec<u8> {
        let layers: Vec<_> = layers
            .iter()
            .map(|(t, size)| serde_json::json!({"mediaType": t, "digest": format!("sha256:{size}"), "size": size}))
            .collect();
        serde_json::to_vec(&serde_json::json!({ "layers": layers })).unwrap()
    }

    #[test]
    fn the_layer_with_the_module_is_found() {
        let raw = manifest(&[("text/plain", 1), ("application/wasm", 2)]);
        assert_eq!(plugin_layer("r", &raw).unwrap().0.size, 2);
        let gz = "application/vnd.oci.image.layer.v1.tar+gzip";
        let (layer, packing) = plugin_layer("r", &manifest(&[(gz, 1), (gz, 2)])).unwrap();
        assert_eq!((layer.size, packing), (2, Packing::TarGzip));
    }

    #[test]
    fn what_is_no_plugin_is_refused_with_the_reason() {
        for (body, reason) in [
            (manifest(&[("text/plain", 1)]), "no layer of a known type among [text/plain]"),
            (manifest(&[("application/wasm", 1), ("application/wasm", 2)]), "2 wasm layers"),
            (manifest(&[("application/wasm", 1 << 40)]), "larger than"),
            (b"[".to_vec(), "cannot be read"),
        ] {
            let error = plugin_layer("r", &body).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
