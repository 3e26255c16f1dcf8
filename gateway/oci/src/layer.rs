// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A layer's bytes to the module in it.

use crate::OciError;
use crate::manifest::{MAX_LAYER, Packing};
use std::io::Read;

/// Most files in an archive that are looked at.
const MAX_ENTRIES: usize = 10_000;
/// The name that tools give the module.
const MODULE: &str = "plugin.wasm";
/// The first bytes of a wasm module.
const MAGIC: &[u8] = b"\0asm";

/// Takes the module out of a layer.
pub(crate) fn module(reference: &str, packing: Packing, layer: Vec<u8>) -> Result<Vec<u8>, OciError> {
    let module = match packing {
        Packing::Raw => layer,
        Packing::Tar => from_tar(reference, layer.as_slice())?,
        // The cap holds after decompression too.
        Packing::TarGzip => {
            from_tar(reference, flate2::read::GzDecoder::new(layer.as_slice()).take(MAX_LAYER))?
        }
    };
    if !module.starts_with(MAGIC) {
        let reason = "its content is no wasm module".to_owned();
        return Err(OciError::NoPlugin { reference: reference.to_owned(), reason });
    }
    Ok(module)
}

/// `plugin.wasm`, else the only file that ends in `.wasm`.
fn from_tar(reference: &str, archive: impl Read) -> Result<Vec<u8>, OciError> {
    let mut archive = tar::Archive::new(archive);
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in archive.entries().map_err(OciError::Archive)?.take(MAX_ENTRIES) {
        let mut entry = entry.map_err(OciError::Archive)?;
        let path = entry.path().map_err(OciError::Archive)?.to_string_lossy().into_owned();
        if !entry.header().entry_type().is_file() || !path.ends_with(".wasm") {
            continue;
        }
        // The size in the header is a claim: read no more than the cap, allocate as it comes.
        let mut content = Vec::new();
        entry.by_ref().take(MAX_LAYER + 1).read_to_end(&mut content).map_err(OciError::Archive)?;
        if content.len() as u64 > MAX_LAYER {
            return Err(OciError::TooLarge { what: "the module in the layer", limit: MAX_LAYER });
        }
        let name = path.trim_start_matches("./").to_owned();
        if name == MODULE {
            return Ok(content);
        }
        found.push((name, content));
    }
    match found.len() {
        1 => Ok(found.swap_remove(0).1),
        count => {
            let reason = format!("its archive has {count} files that end in .wasm and none named {MODULE}");
            Err(OciError::NoPlugin { reference: reference.to_owned(), reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::module;
    use crate::manifest::Packing;
    use std::io::Write;

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn modules_come_out_of_every_packing() {
        let wasm = b"\0asm\x01\0\0\0".to_vec();
        assert_eq!(module("r", Packing::Raw, wasm.clone()).unwrap(), wasm);
        let archive = tar(&[("etc/x", b"x"), ("./plugin.wasm", &wasm), ("other.wasm", b"no")]);
        assert_eq!(module("r", Packing::Tar, archive.clone()).unwrap(), wasm);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&archive).unwrap();
        assert_eq!(module("r", Packing::TarGzip, gz.finish().unwrap()).unwrap(), wasm);
    }

    #[test]
    fn ambiguous_broken_and_foreign_content_is_refused() {
        let two = tar(&[("a.wasm", b"\0asm"), ("b.wasm", b"\0asm")]);
        assert!(module("r", Packing::Tar, two).is_err());
        assert!(module("r", Packing::TarGzip, vec![1, 2, 3]).is_err());
        assert!(module("r", Packing::Raw, b"#!/bin/sh".to_vec()).is_err());
    }
}
