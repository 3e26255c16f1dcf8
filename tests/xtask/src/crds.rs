// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Writes `crds/generated/*.yaml` and the templates of `charts/gatefleet-crds` from the Rust types.

use crate::repository;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

const GENERATED: &str = "crds/generated";
const TEMPLATES: &str = "charts/gatefleet-crds/templates";

/// What a definition's `metadata:` starts with in the chart.
const CHART_METADATA: &str = "\
metadata:
  labels:
    {{- include \"gatefleet-crds.labels\" . | nindent 4 }}
  {{- if .Values.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
";

/// Writes every definition, or with `check` fails where a file differs.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    let root = repository::root();
    let mut names = Vec::new();
    for definition in crds::definitions::all() {
        let (name, text) = (definition.file_name(), definition.yaml().context("render definition")?);
        put(&root.join(TEMPLATES).join(&name), &chart_template(&text)?, check)?;
        put(&root.join(GENERATED).join(&name), &text, check)?;
        names.push(name);
    }
    for folder in [GENERATED, TEMPLATES] {
        for path in strangers(&root.join(folder), &names)? {
            if check {
                bail!("{} belongs to no kind: run `make crds`", path.display());
            }
            std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn put(path: &Path, text: &str, check: bool) -> anyhow::Result<()> {
    if check {
        if std::fs::read_to_string(path).unwrap_or_default() != text {
            bail!("{} is stale: run `make crds`", path.display());
        }
        return Ok(());
    }
    let folder = path.parent().context("a file lies in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Definitions in a folder that no kind stands behind any more.
fn strangers(folder: &Path, names: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".yaml") && !names.contains(&name) {
            found.push(folder.join(name));
        }
    }
    Ok(found)
}

/// The definition as a template: Helm's braces spelt out, labels and the keep policy added.
fn chart_template(text: &str) -> anyhow::Result<String> {
    let text = text.replace("{{", "{{ \"{{\" }}");
    let (head, tail) = text.split_once("\nmetadata:\n").context("a definition has metadata")?;
    Ok(format!("{head}\n{CHART_METADATA}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::{chart_template, run};

    #[test]
    fn files_are_fresh() {
        run(true).unwrap();
    }

    #[test]
    fn a_template_keeps_names_and_spells_braces_out() {
        let text =
            chart_template("kind: A\nmetadata:\n  name: a\nspec:\n  description: \"{{x}}\"\n").unwrap();
        assert!(text.contains("resource-policy: keep\n  {{- end }}\n  name: a\n"), "{text}");
        assert!(text.ends_with("description: \"{{ \"{{\" }}x}}\"\n"), "{text}");
        assert!(chart_template("kind: A\n").is_err());
    }
}
