// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The known differences (`docs/envoy-differences.yaml`), each with its explanation, and the page that shows them.

use crate::compare::Difference;
use anyhow::{Context, bail};
use regex::Regex;
use serde::Deserialize;
use std::path::Path;

/// A known difference: what it concerns, as regular expressions for the whole text, and why it is so.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    title: String,
    why: String,
    #[serde(default = "anything")]
    configuration: String,
    #[serde(default = "anything")]
    request: String,
    field: String,
    #[serde(default = "anything")]
    ours: String,
    #[serde(default = "anything")]
    envoy: String,
}

fn anything() -> String {
    ".*".to_owned()
}

/// The list.
pub(crate) struct Known {
    entries: Vec<(Entry, [Regex; 5])>,
}

/// What remains after the known ones are taken out.
pub(crate) struct Sorted {
    pub(crate) unlisted: Vec<Difference>,
    /// Ids of entries that occurred, with how often.
    pub(crate) listed: Vec<(String, usize)>,
    /// Ids of entries that did not occur.
    pub(crate) gone: Vec<String>,
}

impl Known {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let entries: Vec<Entry> =
            serde_saphyr::from_str(&text).with_context(|| format!("read {}", file.display()))?;
        let compile = |entry: Entry| {
            let parts = [&entry.configuration, &entry.request, &entry.field, &entry.ours, &entry.envoy];
            let mut compiled = Vec::new();
            for part in parts {
                compiled.push(
                    Regex::new(&format!("(?s)^(?:{part})$"))
                        .with_context(|| format!("entry {}", entry.id))?,
                );
            }
            let compiled = <[Regex; 5]>::try_from(compiled).ok().context("five expressions")?;
            Ok((entry, compiled))
        };
        Ok(Self { entries: entries.into_iter().map(compile).collect::<anyhow::Result<_>>()? })
    }

    /// Takes the known ones out.
    pub(crate) fn sort(&self, differences: Vec<Difference>) -> Sorted {
        let mut counts = vec![0; self.entries.len()];
        let mut unlisted = Vec::new();
        for difference in differences {
            match self.entries.iter().position(|(_, parts)| concerns(parts, &difference)) {
                Some(index) => counts[index] += 1,
                None => unlisted.push(difference),
            }
        }
        let named = self.entries.iter().map(|(entry, _)| entry.id.clone()).zip(counts);
        let (gone, listed): (Vec<_>, Vec<_>) = named.partition(|(_, count)| *count == 0);
        Sorted { unlisted, listed, gone: gone.into_iter().map(|(id, _)| id).collect() }
    }

    /// The page for people.
    pub(crate) fn page(&self) -> String {
        let mut page = String::from(
            "<!-- SPDX-FileCopyrightText: The Gatefleet Authors -->\n<!-- SPDX-License-Identifier: Apache-2.0 -->\n\
             # Where the gateway differs from Envoy\n\n\
             Made from `envoy-differences.yaml` by `tests/run oracle-page`; `tests/run oracle` fails on a difference that is not listed here, and\n\
             on one that is listed and no longer occurs.\n",
        );
        for (entry, _) in &self.entries {
            page.push_str(&format!(
                "\n## {}\n{}\n\nSeen in `{}` (`{}`).\n",
                entry.title,
                entry.why.trim(),
                entry.field,
                entry.id
            ));
        }
        page
    }

    /// Fails where the page is not the list's.
    pub(crate) fn check_page(&self, file: &Path) -> anyhow::Result<()> {
        if std::fs::read_to_string(file).unwrap_or_default() != self.page() {
            bail!("{} is stale: run `tests/run oracle-page`", file.display());
        }
        Ok(())
    }
}

fn concerns(parts: &[Regex; 5], difference: &Difference) -> bool {
    let texts = [
        &difference.configuration,
        &difference.request,
        &difference.field,
        &difference.ours,
        &difference.envoy,
    ];
    parts.iter().zip(texts).all(|(part, text)| part.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::Known;
    use std::path::Path;

    #[test]
    fn the_page_is_the_list_s() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let known = Known::read(&docs.join("envoy-differences.yaml")).unwrap();
        known.check_page(&docs.join("envoy-differences.md")).unwrap();
    }
}
